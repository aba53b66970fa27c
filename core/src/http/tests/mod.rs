//! Tests of the layer through its public face.
