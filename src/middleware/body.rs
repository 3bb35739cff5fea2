//! Streaming body transforms of stages.

use std::error::Error;
use std::fmt;

use ringway_model::Coding;

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

    /// Appends what is held of the data so far, as far as the receiver can use it without the rest. Called
    /// when no more data has come: a slow stream must not stand still.
    ///
    /// # Errors
    /// As [`on_data`](Self::on_data).
    fn on_pause(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let _ = out;
        Ok(())
    }

    /// The content coding that this transform applies. It comes behind all others, whatever the order of
    /// their stages.
    fn coded(&self) -> Option<Coded> {
        None
    }
}

/// Content coding of a body, and the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded {
    /// The coding.
    pub coding: Coding,
    /// Bytes before it.
    pub bytes_in: u64,
    /// Bytes behind it.
    pub bytes_out: u64,
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
        let at = self.0.iter().position(|known| known.coded().is_some()).unwrap_or(self.0.len());
        self.0.insert(at, Box::new(transform));
    }

    /// The content coding that a stage applies.
    pub fn coded(&self) -> Option<Coded> {
        self.0.last()?.coded()
    }

    /// The content coding, where nothing else is done to the body: a copy that was coded before can be sent
    /// instead.
    pub fn sole_coding(&self) -> Option<Coding> {
        match self.0.as_slice() {
            [only] => only.coded().map(|coded| coded.coding),
            _ => None,
        }
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
        self.drain(out, |transform, left| transform.on_end(left))
    }

    /// Appends what the transforms hold; see [`BodyTransform::on_pause`].
    ///
    /// # Errors
    /// The error of the first transform that fails.
    pub fn on_pause(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        self.drain(out, |transform, left| transform.on_pause(left))
    }

    /// Calls `f` with each transform in order, and passes its output through those behind it.
    fn drain(
        &mut self,
        out: &mut Vec<u8>,
        f: impl Fn(&mut dyn BodyTransform, &mut Vec<u8>) -> Result<(), BodyError>,
    ) -> Result<(), BodyError> {
        let mut transforms = self.0.as_mut_slice();
        while let Some((first, behind)) = transforms.split_first_mut() {
            if behind.is_empty() {
                return f(&mut **first, out);
            }
            let mut left = Vec::new();
            f(&mut **first, &mut left)?;
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
    #![allow(clippy::unwrap_used)]
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

    /// Coding that buffers everything until a pause.
    #[derive(Default)]
    struct Code(Vec<u8>);

    impl BodyTransform for Code {
        fn on_data(&mut self, data: &[u8], _: &mut Vec<u8>) -> Result<(), BodyError> {
            self.0.extend_from_slice(data);
            Ok(())
        }

        fn on_pause(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
            out.append(&mut self.0);
            Ok(())
        }

        fn coded(&self) -> Option<Coded> {
            Some(Coded { coding: Coding::Gzip, bytes_in: 0, bytes_out: 0 })
        }
    }

    #[test]
    fn a_coding_comes_last() {
        let mut transforms = BodyTransforms::default();
        transforms.push(Code::default());
        assert_eq!(transforms.sole_coding(), Some(Coding::Gzip));
        transforms.push(Double);
        assert_eq!((transforms.sole_coding(), transforms.coded().is_some()), (None, true));
        let mut out = Vec::new();
        transforms.on_data(b"ab", &mut out).unwrap();
        assert_eq!(out, b"");
        transforms.on_pause(&mut out).unwrap();
        assert_eq!(out, b"aabb");
    }

    #[test]
    fn a_pause_brings_out_what_can_be_used() {
        let mut transforms = BodyTransforms::default();
        transforms.push(Hold::default());
        transforms.push(Double);
        let mut out = Vec::new();
        transforms.on_data(b"a", &mut out).unwrap();
        transforms.on_pause(&mut out).unwrap();
        assert_eq!(out, b"", "it holds until the end");
        transforms.on_end(&mut out).unwrap();
        assert_eq!(out, b"aa!!");
    }

    #[test]
    fn an_error_ends_the_body() {
        let mut transforms = BodyTransforms::default();
        transforms.push(Double);
        transforms.push(Fail);
        assert_eq!(through(transforms, &[b"a"]), Err(BodyError { reason: "test" }));
    }
}
