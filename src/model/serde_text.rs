//! Values that documents write as text.

/// Durations as `30s` or `50ms`.
pub(crate) mod duration {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = value.as_millis();
        match millis % 1000 {
            0 => serializer.collect_str(&format_args!("{}s", millis / 1000)),
            _ => serializer.collect_str(&format_args!("{millis}ms")),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom("not a duration"))
    }

    pub(crate) fn parse(text: &str) -> Option<Duration> {
        let millis = match text.strip_suffix("ms") {
            Some(millis) => millis.parse().ok()?,
            None => text.strip_suffix('s')?.parse::<u64>().ok()?.checked_mul(1000)?,
        };
        Some(Duration::from_millis(millis))
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
    crate::Template: |text| crate::Template::parse(text).ok();
}
