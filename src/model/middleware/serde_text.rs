//! Values that documents write as text.

/// Durations as `30s` or `50ms`.
pub(super) mod duration {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::middleware) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let millis = value.as_millis();
        match millis % 1000 {
            0 => serializer.collect_str(&format_args!("{}s", millis / 1000)),
            _ => serializer.collect_str(&format_args!("{millis}ms")),
        }
    }

    pub(in crate::middleware) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let millis = match text.strip_suffix("ms") {
            Some(millis) => millis.parse().ok(),
            None => text
                .strip_suffix('s')
                .and_then(|seconds| seconds.parse::<u64>().ok())
                .and_then(|seconds| seconds.checked_mul(1000)),
        };
        millis.map(Duration::from_millis).ok_or_else(|| D::Error::custom("not a duration"))
    }
}

/// Implements serde's traits by `Display` and a parser of the same text.
macro_rules! as_text {
    ($($type:ty: $parse:expr;)+) => {
        $(impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                let parse: fn(&str) -> Option<$type> = $parse;
                parse(&text).ok_or_else(|| serde::de::Error::custom("invalid text"))
            }
        })+
    };
}

as_text! {
    crate::AppId: |text| crate::AppId::parse(text).ok();
    crate::PolicyId: |text| crate::PolicyId::parse(text).ok();
    crate::MiddlewareId: |text| crate::MiddlewareId::parse(text).ok();
    crate::PluginId: |text| crate::PluginId::parse(text).ok();
    crate::Cidr: |text| text.parse().ok();
    super::Template: |text| super::Template::parse(text).ok();
}
