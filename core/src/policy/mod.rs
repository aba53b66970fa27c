//! Pure decisions without a state of their own: who counts as local, which browser origins may come in.

pub mod address;
pub mod origin;
