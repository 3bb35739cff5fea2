//! Certificates in the control plane: publication to all cores, and a watch over files that apps and domains
//! name.

pub(crate) mod certificate_host;
pub(crate) mod file_watch;
mod update;

pub(crate) use update::CertificateUpdate;
