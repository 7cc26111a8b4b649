//! [`regex_lite`] in the place of `regex`.

pub use regex_lite::*;
