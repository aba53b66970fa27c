//! The options of `control`.

use argh::FromArgs;

/// Start the control plane alone: JWT-authenticated commands that steer the AI providers.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "control",
    help_triggers("-h", "--help"),
    example = "{command_name}\n{command_name} --print-token\n{command_name} --port 0 --json\n\
               TRUSTED_CLIENT_IPS=127.0.0.1,100.64.0.0/10 {command_name} --bind 100.64.0.7 --allow-remote",
    note = "It takes the variables of the OpenClaw Enterprise gateway: WS_CONTROL_PORT (18789), SESSION_TTL_HOURS (24), JWT_SECRET\n\
            (one that is drawn at each start), TRUSTED_CLIENT_IPS (127.0.0.1,::1; addresses and CIDR blocks), ACTIVE_AI_PROVIDER\n\
            (gemini or kimi), GEMINI_API_KEY, GEMINI_MODEL, GEMINI_BASE_URL, MOONSHOT_API_KEY, MOONSHOT_MODEL, MOONSHOT_BASE_URL\n\
            (https://api.moonshot.cn/v1; keys of the international platform need https://api.moonshot.ai/v1), NODE_ENV.\n\
            KIMI_API_KEY, KIMI_MODEL and KIMI_BASE_URL stand in for the MOONSHOT ones.\n\n\
            The session token is shown on a terminal or with --print-token. Otherwise it is written to --token-file\n\
            (control-token in the state folder, for its owner alone), and at every rotation again.\n\n\
            SIGTERM and SIGINT let commands under way end within 5 seconds, then close every connection; a second signal ends\n\
            it at once. SIGHUP reads the settings again, and replaces a token that has expired.",
    error_code(1, "The control plane could not be started; the reason is on standard error."),
    error_code(78, "The settings are wrong; starting again would not help.")
)]
pub(in crate::cli) struct ControlCommand {
    /// address to listen on (127.0.0.1)
    #[argh(option, arg_name = "host")]
    pub(in crate::cli) bind: Option<String>,
    /// port to listen on (18789); 0 picks a free one
    #[argh(option, arg_name = "n")]
    pub(in crate::cli) port: Option<String>,
    /// allow an address that other machines reach
    #[argh(switch)]
    pub(in crate::cli) allow_remote: bool,
    /// a browser origin that may connect, for example https://app.example.com; may be repeated
    #[argh(option, arg_name = "origin")]
    pub(in crate::cli) allow_origin: Vec<String>,
    /// show the session token, terminal or not
    #[argh(switch)]
    pub(in crate::cli) print_token: bool,
    /// where the session token is written
    #[argh(option, arg_name = "file")]
    pub(in crate::cli) token_file: Option<String>,
    /// settings file (JSON5)
    #[argh(option, arg_name = "file")]
    pub(in crate::cli) config: Option<String>,
    /// folder for state
    #[argh(option, arg_name = "dir")]
    pub(in crate::cli) state_dir: Option<String>,
    /// file with environment variables, readable by its owner alone
    #[argh(option, arg_name = "file")]
    pub(in crate::cli) env_file: Option<String>,
    /// certificate of the listener (PEM): TLS
    #[argh(option, arg_name = "file")]
    pub(in crate::cli) tls_cert: Option<String>,
    /// private key of the certificate (PEM)
    #[argh(option, arg_name = "file")]
    pub(in crate::cli) tls_key: Option<String>,
    /// one setting, for example control.closeOnRotate=true; may be repeated
    #[argh(option, arg_name = "path=json")]
    pub(in crate::cli) set: Vec<String>,
    /// log what happens, not only what is wrong
    #[argh(switch)]
    pub(in crate::cli) verbose: bool,
    /// print one line of JSON at the start, and nothing else
    #[argh(switch)]
    pub(in crate::cli) json: bool,
}
