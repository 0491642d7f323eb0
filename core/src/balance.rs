//! Choice of an endpoint for a service: candidates by health and locality, then weighted random.
