//! portcullis-smol
