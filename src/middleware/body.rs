//! Streaming body transforms of stages.

use std::error::Error;
use std::fmt;

/// Streaming transform of one body. Its input is data without framing.
///
/// A transformed body has no known length: it is sent chunked, or in HTTP/2 frames.
pub trait BodyTransform {
    /// Transforms the next piece of the body and appends its output, if any, to `out`.
    ///
    /// # Errors
    /// The body cannot be forwarded; the message is aborted.
    fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError>;

    /// Ends the body and appends the remaining output to `out`.
    ///
    /// # Errors
    /// As [`on_data`](Self::on_data).
    fn on_end(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let _ = out;
        Ok(())
    }
}

/// Failure of a body transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyError {
    /// The reason, from a fixed vocabulary.
    pub reason: &'static str,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "body transform failed: {}", self.reason)
    }
}

impl Error for BodyError {}

/// Transforms of one body, in order.
#[derive(Default)]
pub struct BodyTransforms(Vec<Box<dyn BodyTransform>>);

impl BodyTransforms {
    /// Whether no stage added a transform: the body is forwarded as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, transform: impl BodyTransform + 'static) {
        self.0.push(Box::new(transform));
    }

    /// Runs a piece of the body through all transforms and appends the result to `out`.
    ///
    /// # Errors
    /// The error of the first transform that fails.
    pub fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        pass(&mut self.0, data, out)
    }

    /// Ends the body: each transform in order, its remaining output through those behind it.
    ///
    /// # Errors
    /// The error of the first transform that fails.
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

    /// Transform that doubles each byte.
    struct Double;

    impl BodyTransform for Double {
        fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
            out.extend(data.iter().flat_map(|byte| [*byte, *byte]));
            Ok(())
        }
    }

    /// Transform that buffers everything until the end.
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

    struct Fail;

    impl BodyTransform for Fail {
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
    fn without_transforms_a_body_is_unchanged() {
        assert!(BodyTransforms::default().is_empty());
        assert_eq!(through(BodyTransforms::default(), &[b"a", b"bc"]), Ok(b"abc".to_vec()));
    }

    #[test]
    fn each_transform_gets_the_output_of_the_previous_one() {
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
    fn an_error_ends_the_body() {
        let mut transforms = BodyTransforms::default();
        transforms.push(Double);
        transforms.push(Fail);
        assert_eq!(through(transforms, &[b"a"]), Err(BodyError { reason: "test" }));
    }
}
