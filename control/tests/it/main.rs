//! The controller's tests, one binary so that they link once.

mod support;

mod ca;
mod xds;
