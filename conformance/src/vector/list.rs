// The files of spec/vectors, in the order in which they are played.
shelf![
    "operator/transport",
    "operator/defaults",
    "operator/handshake",
    "operator/order",
    "operator/connect-params",
    "operator/origin",
    "operator/requests",
    "operator/methods",
    "operator/idempotency",
    "operator/hardening",
    "websocket/handshake",
    "websocket/frames",
    "http/head",
    "http/body",
    "http/connection",
];
