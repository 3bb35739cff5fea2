//! Lua scripts on a core: its VMs, and their host.

mod host;
mod vms;

pub(crate) use self::vms::Vms;
