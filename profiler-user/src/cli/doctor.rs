//! The arguments of `flamekeeper doctor`, as clap sees them. Only translates.

/// The arguments of `flamekeeper doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 if all is well; 1 if something is limited; 2 if this host cannot be profiled."
)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
