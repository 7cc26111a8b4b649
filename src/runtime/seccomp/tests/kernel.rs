//! Filters in the kernel.
