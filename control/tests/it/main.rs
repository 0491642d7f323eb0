//! The controller's tests, one binary so that they link once.

mod support;

mod ca;
mod index_pods;
mod index_services;
mod policy_compile;
mod policy_reach;
mod xds;
