//! Edits of a request that an external filter allows.

use ringway_model::Direction;
use ringway_wire::headers::{is_field_value, is_token};

use super::{Reason, forwarded_fields};
use crate::limits;
use crate::request::RequestCtx;
use crate::response::ResponseCtx;

/// Edits of a request that is allowed, and of its response; in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    request: Vec<FieldEdit>,
    response: Vec<FieldEdit>,
}

/// Edit of the fields of one name, which stages may change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldEdit {
    name: Box<str>,
    action: Action,
    value: Box<[u8]>,
}

/// Change of the fields of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// None is left.
    Remove,
    /// One more.
    Append,
    /// This one alone.
    Set,
    /// This one, where there is none.
    SetIfAbsent,
    /// This one alone, where there are others.
    SetIfPresent,
}

impl Grant {
    /// Adds an edit.
    ///
    /// # Errors
    /// No stage may change the field, name or value is invalid, or there are too many edits: the decision as
    /// a whole is invalid, for the service counts on all of them.
    pub(super) fn push(
        &mut self,
        direction: Direction,
        action: Action,
        name: &str,
        value: &[u8],
    ) -> Result<(), Reason> {
        let is_valid = is_token(name.as_bytes()) && is_field_value(value) && !direction.protects(name);
        if !is_valid || self.request.len() + self.response.len() >= limits::DECISION_EDITS_MAX {
            return Err("invalid");
        }
        let edit = FieldEdit { name: name.into(), action, value: value.into() };
        match direction {
            Direction::Request => self.request.push(edit),
            Direction::Response => self.response.push(edit),
        }
        Ok(())
    }

    /// Whether an edit of the request has this name.
    pub(super) fn edits_request_field(&self, name: &str) -> bool {
        self.request.iter().any(|edit| edit.name.eq_ignore_ascii_case(name))
    }

    /// Whether it edits the response.
    pub(super) fn edits_response(&self) -> bool {
        !self.response.is_empty()
    }

    /// Bytes of its names and values.
    pub(super) fn size(&self) -> usize {
        self.request.iter().chain(&self.response).map(|edit| edit.name.len() + edit.value.len()).sum()
    }

    /// Whether it sets a cookie, which is for one client.
    pub(super) fn sets_cookie(&self) -> bool {
        self.response.iter().any(|edit| edit.name.eq_ignore_ascii_case("set-cookie"))
    }

    /// Edits the forwarded request. Fields that earlier stages have added count as those of the client.
    pub(super) fn apply_to_request(&self, request: &mut RequestCtx<'_>) {
        for edit in &self.request {
            let name = &*edit.name;
            let is_present = || forwarded_fields(request).any(|(known, _)| known.eq_ignore_ascii_case(name));
            let Some(is_sole) = edit.action.is_sole(is_present) else { continue };
            if is_sole {
                request.run.edits.withdraw(name);
                request.remove(name);
            }
            if edit.action != Action::Remove {
                // Name and value were checked when the edit was made.
                let _ = request.append(name, &edit.value);
            }
        }
    }

    /// Edits the response for the client.
    pub(super) fn apply_to_response(&self, response: &mut ResponseCtx<'_>) {
        for edit in &self.response {
            let name = &*edit.name;
            let Some(is_sole) = edit.action.is_sole(|| response.has_kept(name)) else { continue };
            if is_sole {
                response.edits.withdraw(name);
                response.remove(name);
            }
            if edit.action != Action::Remove {
                // Name and value were checked when the edit was made.
                let _ = response.append(name, &edit.value);
            }
        }
    }
}

impl Action {
    /// Whether others of the name go; `None` if nothing is to be done.
    fn is_sole(self, is_present: impl FnOnce() -> bool) -> Option<bool> {
        match self {
            Self::Append => Some(false),
            Self::Remove | Self::Set => Some(true),
            Self::SetIfAbsent => (!is_present()).then_some(false),
            Self::SetIfPresent => is_present().then_some(true),
        }
    }
}
