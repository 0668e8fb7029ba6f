//! In a real app: on several nodes, behind real sockets, deployed and shut down.

#[path = "../support/app.rs"]
mod app_support;
#[path = "../support/http.rs"]
mod http_support;

mod addresses;
mod contexts;
mod deploy;
mod events;
mod http2;
mod index;
mod limits;
mod long_requests;
mod maps;
mod members;
mod merging;
mod outside;
mod partial_cuts;
mod shutdown;
mod single_sign_on;
mod streams;
mod test_cluster;
