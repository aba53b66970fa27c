//! portcullis-blocking
