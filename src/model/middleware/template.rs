//! Templates: values of header fields that contain properties of the request.

use std::fmt;
use std::sync::Arc;

/// Text with variables: `${client_ip}`; `$$` is a dollar sign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template(Box<[TemplatePart]>);

/// Part of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TemplatePart {
    /// Fixed text.
    Text(Arc<str>),
    /// A property of the request; empty where it has none.
    Variable(Variable),
}

/// Property of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Variable {
    /// Address of the client.
    ClientIp,
    /// Host, without port.
    Host,
    /// Method.
    Method,
    /// Path as it was matched.
    Path,
    /// Query, without its question mark.
    Query,
    /// `http` or `https`.
    Scheme,
    /// Id of the route.
    Route,
    /// Id of the app or pool.
    App,
    /// Id of the tenant.
    Tenant,
    /// Id of the request.
    RequestId,
    /// The authenticated user.
    User,
    /// A claim of the verified token.
    Claim(Arc<str>),
    /// A field of the request, in lower case; the first of several. In documents `_` stands for `-`, too.
    Header(Arc<str>),
}

/// Variables without a name of their own.
const PLAIN: [(&str, Variable); 11] = [
    ("client_ip", Variable::ClientIp),
    ("host", Variable::Host),
    ("method", Variable::Method),
    ("path", Variable::Path),
    ("query", Variable::Query),
    ("scheme", Variable::Scheme),
    ("route", Variable::Route),
    ("app", Variable::App),
    ("tenant", Variable::Tenant),
    ("request_id", Variable::RequestId),
    ("user", Variable::User),
];

impl Variable {
    /// Names of all variables, as messages list them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PLAIN.iter().map(|(name, _)| *name).chain(["claim.NAME", "header.NAME"])
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some((_, variable)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Some(variable.clone());
        }
        if let Some(claim) = text.strip_prefix("claim.").filter(|claim| !claim.is_empty()) {
            return Some(Self::Claim(claim.into()));
        }
        let is_name = |name: &&str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let header = text.strip_prefix("header.").filter(is_name)?;
        // As the other variables are written: many apps read both as one, and a field with `_` is rarely
        // meant.
        Some(Self::Header(header.to_ascii_lowercase().replace('_', "-").into()))
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(name) => write!(f, "claim.{name}"),
            Self::Header(name) => write!(f, "header.{name}"),
            plain => {
                let name = PLAIN.iter().find(|(_, known)| known == plain).map_or("", |(name, _)| name);
                f.write_str(name)
            }
        }
    }
}

/// Error of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A `${` without its `}`.
    Unclosed,
    /// No variable has this name.
    Unknown(Box<str>),
    /// A character that cannot stand in a header field.
    Control,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed => f.write_str("has a ${ without its }; a dollar sign is written $$"),
            Self::Unknown(name) => {
                write!(f, "has the variable ${{{name}}}, which does not exist; there are ")?;
                for (at, name) in Variable::names().enumerate() {
                    write!(f, "{}{name}", if at == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Control => f.write_str("must be visible characters, spaces and tabs"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// A variable is unknown or unclosed, or a character cannot stand in a header field.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(TemplateError::Control);
        }
        let (mut parts, mut fixed, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find('$') {
            fixed.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                fixed.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let (name, after) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
                let variable = Variable::parse(name).ok_or_else(|| TemplateError::Unknown(name.into()))?;
                if !fixed.is_empty() {
                    parts.push(TemplatePart::Text(std::mem::take(&mut fixed).into()));
                }
                parts.push(TemplatePart::Variable(variable));
                rest = after;
            } else {
                fixed.push('$');
            }
        }
        fixed.push_str(rest);
        if !fixed.is_empty() {
            parts.push(TemplatePart::Text(fixed.into()));
        }
        Ok(Self(parts.into()))
    }

    /// Its parts.
    pub fn parts(&self) -> &[TemplatePart] {
        &self.0
    }

    /// The text, where it has no variables.
    pub fn fixed(&self) -> Option<&str> {
        match &*self.0 {
            [] => Some(""),
            [TemplatePart::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                TemplatePart::Text(text) => f.write_str(&text.replace('$', "$$"))?,
                TemplatePart::Variable(variable) => write!(f, "${{{variable}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn templates_survive_their_text() {
        for text in ["", "1.0", "$$5", "${client_ip}", "a ${header.x-api} b ${claim.sub}c", "$$${user}"] {
            let template = Template::parse(text).unwrap();
            assert_eq!(Template::parse(&template.to_string()).unwrap(), template, "{text}");
        }
        assert_eq!(Template::parse("1$").unwrap().fixed(), Some("1$"));
        assert_eq!(Template::parse("${header.X_User}"), Template::parse("${header.x-user}"));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(Template::parse("${host"), Err(TemplateError::Unclosed));
        assert_eq!(Template::parse("${hosts}"), Err(TemplateError::Unknown("hosts".into())));
        assert_eq!(Template::parse("a\r\nb"), Err(TemplateError::Control));
        assert!(Template::parse("${header.a b}").is_err() && Template::parse("${claim.}").is_err());
    }
}
