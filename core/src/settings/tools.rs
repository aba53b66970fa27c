//! Which tools `POST /tools/invoke` offers. Spec: `spec/hardening.md`.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// Policy and programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolSettings {
    /// Names taken off the default deny list.
    pub allow: Vec<String>,
    /// Names denied besides; they win over [`Self::allow`].
    pub deny: Vec<String>,
    /// Unknown members of a request are refused.
    pub strict_body: bool,
    /// The largest request body.
    pub max_body_bytes: usize,
    /// Calls at the same time; further ones are refused with 503.
    pub max_concurrent: u32,
    /// Tools that are programs.
    pub commands: Vec<CommandTool>,
}

/// A tool that is a program: it gets `args` as JSON on its standard input; what it writes is the result (as JSON when it is
/// JSON, as text otherwise); an exit code other than 0 is an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandTool {
    /// What requests name it by.
    pub name: String,
    /// For people.
    pub description: String,
    /// The program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// The most output, in bytes, both streams together.
    pub max_output_bytes: usize,
    /// Its arguments have a member `action`: a request's own `action` is copied into them.
    pub takes_action: bool,
}

impl Default for ToolSettings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            strict_body: false,
            max_body_bytes: 2_097_152,
            max_concurrent: 16,
            commands: Vec::new(),
        }
    }
}
