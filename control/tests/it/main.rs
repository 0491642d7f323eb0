//! The controller's tests, one binary so that they link once.

mod support;

mod admin;
mod admission;
mod admission_server;
mod ca;
mod ca_given;
mod dir;
mod dir_special;
mod garbage;
mod gateway_status;
mod index_endpoints;
mod index_near;
mod index_pods;
mod index_services;
mod kube_odd;
mod policy_compile;
mod policy_notes;
mod policy_reach;
mod scale;
mod store;
mod unreadable;
mod xds;
mod xds_expiry;
mod xds_raw;
