//! End-to-end tests: the real binary, real sockets, bytes as they are on the wire.
//!
//! One module per concern; every scenario runs on io_uring and once more on epoll.

#![allow(clippy::unwrap_used)]

mod acme;
mod admin;
mod admin_access;
mod answers;
mod attack_control;
mod attack_data;
mod attack_http2;
mod attack_records;
mod attack_tls;
mod attacks;
mod auth;
mod auth_operators;
mod balancing;
mod bodies;
mod cache;
mod canary;
mod certificate_api;
mod certificates;
mod churn;
mod cli;
mod compression;
mod config_cli;
mod config_file;
mod config_trial;
#[path = "../conformance/conformance.rs"]
mod conformance;
mod departures;
mod deploy;
mod doors;
mod drain;
mod embedding;
mod errors;
mod external_filters;
mod faults;
mod faults_system;
mod grpc;
mod headers;
mod hedging;
mod http2;
mod http2_chaos;
mod http2_faults;
mod http2_upstream;
mod kit;
mod lifecycle;
mod limits;
mod listeners;
mod middleware;
mod observe;
mod overload;
mod pages;
mod persistence;
mod pools;
mod protocol;
mod quickstart;
mod rate_limits;
mod readme;
mod registration;
mod resolver;
mod retries;
mod routes;
mod routing;
mod smuggling;
mod soak;
mod spread;
mod tenants;
mod timeouts;
mod tls;
mod traffic_documents;
mod traffic_pools;
mod upstream_tls;
mod webhooks;
mod websocket;
