//! Transforms of bodies on their way, for stages that ask for them.

use std::error::Error;
use std::fmt;

/// A transform of one body, piece by piece. It sees data without framing.
///
/// A body that is transformed has no known length: it is sent chunked, or in frames of HTTP/2.
pub trait BodyTransform {
    /// Takes the next piece of the body and appends to `out` what follows from it, if anything.
    ///
    /// # Errors
    /// The body cannot be passed on; the message is broken off.
    fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError>;

    /// Takes the end of the body and appends to `out` what is left.
    ///
    /// # Errors
    /// As [`on_data`](Self::on_data).
    fn on_end(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let _ = out;
        Ok(())
    }
}

/// A body that a transform does not pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyError {
    /// The reason, from a fixed vocabulary.
    pub reason: &'static str,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body is not passed on: {}", self.reason)
    }
}

impl Error for BodyError {}

/// Transforms of one body, in the order in which they see it.
#[derive(Default)]
pub struct BodyTransforms(Vec<Box<dyn BodyTransform>>);

impl BodyTransforms {
    /// Whether no stage asked for one: the body passes unseen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, transform: impl BodyTransform + 'static) {
        self.0.push(Box::new(transform));
    }

    /// Passes a piece of the body through all of them and appends the result to `out`.
    ///
    /// # Errors
    /// The error of the first that fails.
    pub fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        pass(&mut self.0, data, out)
    }

    /// Ends the body: each transform in turn, and what it leaves passes through those behind it.
    ///
    /// # Errors
    /// The error of the first that fails.
    pub fn on_end(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let mut transforms = self.0.as_mut_slice();
        while let Some((first, behind)) = transforms.split_first_mut() {
            let mut left = Vec::new();
            first.on_end(&mut left)?;
            if !left.is_empty() {
                pass(behind, &left, out)?;
            }
            transforms = behind;
        }
        Ok(())
    }
}

impl fmt::Debug for BodyTransforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyTransforms({})", self.0.len())
    }
}

fn pass(transforms: &mut [Box<dyn BodyTransform>], data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
    let Some((last, before)) = transforms.split_last_mut() else {
        out.extend_from_slice(data);
        return Ok(());
    };
    if before.is_empty() {
        return last.on_data(data, out);
    }
    let mut piece = Vec::new();
    pass(before, data, &mut piece)?;
    if piece.is_empty() { Ok(()) } else { last.on_data(&piece, out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles each byte.
    struct Double;

    impl BodyTransform for Double {
        fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
            out.extend(data.iter().flat_map(|byte| [*byte, *byte]));
            Ok(())
        }
    }

    /// Holds everything back until the end.
    #[derive(Default)]
    struct Hold(Vec<u8>);

    impl BodyTransform for Hold {
        fn on_data(&mut self, data: &[u8], _: &mut Vec<u8>) -> Result<(), BodyError> {
            self.0.extend_from_slice(data);
            Ok(())
        }

        fn on_end(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
            out.append(&mut self.0);
            out.push(b'!');
            Ok(())
        }
    }

    struct Refuse;

    impl BodyTransform for Refuse {
        fn on_data(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<(), BodyError> {
            Err(BodyError { reason: "test" })
        }
    }

    fn through(mut transforms: BodyTransforms, pieces: &[&[u8]]) -> Result<Vec<u8>, BodyError> {
        let mut out = Vec::new();
        for piece in pieces {
            transforms.on_data(piece, &mut out)?;
        }
        transforms.on_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn without_transforms_a_body_passes_unchanged() {
        assert!(BodyTransforms::default().is_empty());
        assert_eq!(through(BodyTransforms::default(), &[b"a", b"bc"]), Ok(b"abc".to_vec()));
    }

    #[test]
    fn each_transform_sees_what_the_one_before_it_leaves() {
        let mut first_holds = BodyTransforms::default();
        first_holds.push(Hold::default());
        first_holds.push(Double);
        assert_eq!(through(first_holds, &[b"a", b"b"]), Ok(b"aabb!!".to_vec()));
        let mut first_doubles = BodyTransforms::default();
        first_doubles.push(Double);
        first_doubles.push(Hold::default());
        assert_eq!(through(first_doubles, &[b"a", b"b"]), Ok(b"aabb!".to_vec()));
    }

    #[test]
    fn a_refusal_ends_the_body() {
        let mut transforms = BodyTransforms::default();
        transforms.push(Double);
        transforms.push(Refuse);
        assert_eq!(through(transforms, &[b"a"]), Err(BodyError { reason: "test" }));
    }
}
