//! Patterns of paths: `/users/{id}`, `/files/{*rest}`.

use std::fmt;

use crate::limits;

/// Pattern of a path: segments that are text, a parameter, or the rest of the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
}

/// Segment of a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// This text.
    Text(Box<str>),
    /// One segment that is not empty, under this name.
    Parameter(Box<str>),
    /// All that follows, which may be empty, under this name.
    Rest(Box<str>),
}

/// Parse error of a [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It does not begin with `/`.
    NoSlash,
    /// It is longer than 1,024 bytes, or has more than 32 segments or 8 parameters.
    TooLong,
    /// A segment has a brace that is not around all of it.
    PartOfSegment,
    /// The name of a parameter is not of letters, digits and `_`.
    Name,
    /// Two parameters have the same name.
    Twice,
    /// `{*rest}` is not the last segment.
    NotLast,
    /// A character that cannot stand in a path, `?` and `#` among them.
    Character,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSlash => "a pattern begins with /",
            Self::TooLong => "a pattern has at most 1,024 bytes, 32 segments and 8 parameters",
            Self::PartOfSegment => "a parameter is a whole segment: /users/{id}",
            Self::Name => "the name of a parameter has letters, digits and _ only",
            Self::Twice => "two parameters have the same name",
            Self::NotLast => "{*name} is the last segment of a pattern",
            Self::Character => "a pattern has visible ASCII characters without ?, # and * only",
        })
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(path) = text.strip_prefix('/') else { return Err(PatternError::NoSlash) };
        if text.len() > limits::PATTERN_BYTES_MAX || path.split('/').count() > limits::SEGMENTS_MAX {
            return Err(PatternError::TooLong);
        }
        let segments = path.split('/').map(Segment::parse).collect::<Result<Box<[_]>, _>>()?;
        let names: Vec<&str> = segments.iter().filter_map(Segment::name).collect();
        if names.len() > limits::PARAMETERS_MAX {
            return Err(PatternError::TooLong);
        }
        if names.iter().enumerate().any(|(index, name)| names[..index].contains(name)) {
            return Err(PatternError::Twice);
        }
        let before_last = &segments[..segments.len() - 1];
        if before_last.iter().any(|segment| matches!(segment, Segment::Rest(_))) {
            return Err(PatternError::NotLast);
        }
        Ok(Self { text: text.into(), segments })
    }

    /// Its segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches the same paths as another one.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |pair: (&Segment, &Segment)| match pair {
            (Segment::Text(one), Segment::Text(two)) => one == two,
            (Segment::Parameter(_), Segment::Parameter(_)) | (Segment::Rest(_), Segment::Rest(_)) => true,
            (Segment::Text(_) | Segment::Parameter(_) | Segment::Rest(_), _) => false,
        };
        self.segments.len() == other.segments.len() && self.segments.iter().zip(&other.segments).all(same)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            if text.contains(['{', '}']) {
                return Err(PatternError::PartOfSegment);
            }
            let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*');
            return match text.bytes().all(is_plain) {
                true => Ok(Self::Text(text.into())),
                false => Err(PatternError::Character),
            };
        };
        let (is_rest, name) = match inner.strip_prefix('*') {
            Some(name) => (true, name),
            None => (false, inner),
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(PatternError::Name);
        }
        Ok(if is_rest { Self::Rest(name.into()) } else { Self::Parameter(name.into()) })
    }

    /// Name of its parameter.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Parameter(name) | Self::Rest(name) => Some(name),
        }
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
