//! Placeholder.

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the commands that use it come next")
)]
mod exit;
#[expect(dead_code, reason = "the commands that use it come next")]
mod ui;

fn main() {}
