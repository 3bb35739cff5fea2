//! Selection: the entry of a resource, or of the variant that a request selects.

use std::sync::Arc;

use ringway_model::CacheMode;

use super::variant_set::VariantSet;
use super::{Found, Store};
use crate::entry::Entry;
use crate::{FieldSource, KeyError};

/// Result of a selection.
#[derive(Clone, Debug)]
pub enum Selected {
    /// The entry, fresh or stale.
    Entry(Arc<Entry>),
    /// None; with the variants of the resource where it has others.
    Nothing(Option<Arc<VariantSet>>),
}

impl Store {
    /// Finds the entry that a request selects. `variant` gets the key of the variant, where the resource has
    /// some: that of an entry, or the one under which the response is to be stored. `source` are the
    /// request's fields as they are sent to the origin.
    ///
    /// Cost: a look-up, or two; no allocation once `variant` has grown.
    ///
    /// # Errors
    /// The key of the variant is too long.
    pub fn select<'a>(
        &self,
        (primary, variant): (&[u8], &mut Vec<u8>),
        source: impl FieldSource<'a>,
        (epoch, mode): (u64, CacheMode),
    ) -> Result<Selected, KeyError> {
        let set = match self.find(primary, epoch) {
            None => return Ok(Selected::Nothing(None)),
            Some(Found::Entry(entry)) => return Ok(Selected::Entry(entry)),
            Some(Found::Variants(set)) => set,
        };
        let marker = set.marker();
        marker.write_key(variant, primary, source, mode)?;
        if let Some(Found::Entry(entry)) = self.find(variant, epoch) {
            return Ok(Selected::Entry(entry));
        }
        if marker.write_language_key(variant, primary, source, mode)? {
            if let Some(Found::Entry(entry)) = self.find(variant, epoch) {
                return Ok(Selected::Entry(entry));
            }
            marker.write_key(variant, primary, source, mode)?;
        }
        Ok(Selected::Nothing(Some(set)))
    }
}
