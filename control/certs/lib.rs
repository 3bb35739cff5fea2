//! Certificates that look after themselves: files, ACME orders, renewal, the issuance queue and its budgets.
#![forbid(unsafe_code)]
