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
    /// Say what is done on a kernel without these: bpf_loop, bpf_task_pt_regs, tail_calls, perf_links, btf; joined by commas
    #[arg(long, env = "FLAMEKEEPER_KERNEL_WITHOUT", value_name = "WHAT", default_value = "", hide = true)]
    pub kernel_without: String,
}
