//! Negotiation of the content coding from `Accept-Encoding` (RFC 9110 §12.5.3).

use ringway_model::Coding;

/// Content codings that a client accepts, with their weights.
///
/// A member of the list that is invalid counts as absent; of several weights of one coding the least holds:
/// in doubt a response is sent as it is, which every client can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptEncoding {
    /// Weights in thousandths, in the order of [`Coding::ALL`]; `None` where it is not named.
    codings: [Option<u16>; 3],
    identity: Option<u16>,
    /// Weight of all that are not named.
    others: Option<u16>,
}

/// Result of a negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The response is coded.
    Coded(Coding),
    /// The response is sent as it is. Also where the client refuses that and all codings: RFC 9110 §12.5.3
    /// advises it in place of an error.
    Identity,
}

impl AcceptEncoding {
    /// Reads the values of all lines of the field. Without any, a client may get codings, but has not asked.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut accepted = Self::default();
        for member in lines.into_iter().flat_map(|line| line.split(|byte| *byte == b',')) {
            let Some((name, weight)) = parse_member(member) else { continue };
            let Some(slot) = accepted.slot(name) else { continue };
            *slot = Some(slot.map_or(weight, |known: u16| known.min(weight)));
        }
        accepted
    }

    /// Chooses among `codings`, which are in the order of preference where weights are equal. A coding that
    /// weighs as much as identity is preferred to it.
    pub fn choose(&self, codings: &[Coding]) -> Choice {
        let mut best = (self.identity.unwrap_or(0).max(1), Choice::Identity);
        for coding in codings {
            let weight = self.weight(*coding);
            let is_better = match best.1 {
                Choice::Identity => weight >= best.0,
                Choice::Coded(_) => weight > best.0,
            };
            if is_better {
                best = (weight, Choice::Coded(*coding));
            }
        }
        best.1
    }

    /// Weight of a coding in thousandths; 0 for one that is not acceptable.
    fn weight(&self, coding: Coding) -> u16 {
        self.codings[coding as usize].or(self.others).unwrap_or(0)
    }

    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<u16>> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let coding = Coding::ALL.into_iter().find(|coding| is(coding.as_str()));
        // RFC 9110 §8.4.1.3
        let coding = coding.or_else(|| is("x-gzip").then_some(Coding::Gzip));
        match coding {
            Some(coding) => Some(&mut self.codings[coding as usize]),
            None if is("identity") => Some(&mut self.identity),
            None if name == b"*" => Some(&mut self.others),
            None => None,
        }
    }
}

/// Parses a name and its weight in thousandths. `None` for a member that is empty or invalid.
fn parse_member(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.split(|byte| *byte == b';').map(trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = match parts.next() {
        None => 1000,
        Some([b'q' | b'Q', b'=', value @ ..]) => parse_weight(value)?,
        Some(_) => return None,
    };
    parts.next().is_none().then_some((name, weight))
}

/// Parses a qvalue (RFC 9110 §12.4.2): 0 to 1 with up to three decimals.
fn parse_weight(value: &[u8]) -> Option<u16> {
    let (whole, decimals) = match value {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (*whole, decimals),
        _ => return None,
    };
    let mut thousandths = 0;
    for at in 0..3 {
        let digit = decimals.get(at).copied().unwrap_or(b'0');
        thousandths = thousandths * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    let weight = u16::from(whole - b'0') * 1000 + thousandths;
    (weight <= 1000).then_some(weight)
}

/// Removes the optional white space of RFC 9110 §5.6.3.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
#[path = "accept_encoding_tests.rs"]
mod tests;
