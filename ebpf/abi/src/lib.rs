//! The layout shared by kernel programs and agent: map keys, values, events, drop reasons.
#![no_std]
