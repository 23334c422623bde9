//! Small files that hold secrets.

pub(super) use crate::store::put_private as put;
