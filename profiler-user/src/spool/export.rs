//! `flamekeeper spool export`: where the merged profiles go, and a line about each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::table::{plural, seconds, size, time};
use super::{Console, SpoolCommandError};
use crate::cli::ExportArgs;
use crate::deliver::file::{BadOutputs, Format, OutputError, OutputPlan, Target, utc_compact};
use crate::deliver::spool::export::{Export, Exported, export};
use crate::deliver::spool::read::SpoolReader;
use crate::host::WallNanos;

/// Things that could not be read and are named.
const UNREADABLE_MAX: usize = 10;
/// Characters of a service in a file's name.
const NAME_CHARS_MAX: usize = 80;

pub(super) fn run(
    args: &ExportArgs,
    now: WallNanos,
    console: &mut Console<'_>,
) -> Result<u8, SpoolCommandError> {
    let reader = SpoolReader::open(&args.select.spool_dir)?;
    // Said before hours of windows are merged: what can be known already.
    let single =
        if args.by_service { None } else { args.output.as_deref().map(|path| plan(args, path, console)) };
    let single = single.transpose()?;
    let exported = export(&reader, &args.select.selection(now), args.by_service)?;
    let unreadable = tell_unreadable(&exported, console);
    if exported.profiles.is_empty() {
        return Err(SpoolCommandError::Nothing { path: args.select.spool_dir.clone() });
    }
    let folder = match &args.output {
        Some(folder) if args.by_service => folder.clone(),
        _ => PathBuf::from("."),
    };
    if args.by_service {
        let failed = |source| SpoolCommandError::Folder { path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(failed)?;
    }
    let mut taken = BTreeSet::new();
    for profile in &exported.profiles {
        let target = match &single {
            Some(target) => target.clone(),
            None => plan(args, &folder.join(file_name(args, profile, &mut taken)), console)?,
        };
        let bytes = profile.write(&target)?;
        let _unheard = writeln!(console.messages, "{}", line(profile, &target, bytes));
    }
    Ok(u8::from(unreadable > 0))
}

fn plan(args: &ExportArgs, path: &Path, console: &Console<'_>) -> Result<Target, SpoolCommandError> {
    let plan = OutputPlan::new(&[path.to_owned()], args.format, console.is_terminal)?;
    let target = plan.targets().first().cloned();
    let target = target.filter(|target| !target.format.needs_timeline()).ok_or_else(|| {
        let format = args.format.unwrap_or(Format::Firefox);
        SpoolCommandError::Output(BadOutputs(vec![OutputError::NoTimeline { path: path.to_owned(), format }]))
    })?;
    Ok(target)
}

/// After the service, or after the host and the time of the oldest window; each once.
fn file_name(args: &ExportArgs, profile: &Exported, taken: &mut BTreeSet<String>) -> String {
    let ending = args.format.unwrap_or(Format::Pprof).endings().first().copied().unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let name: String = if args.by_service {
        profile.service.chars().take(NAME_CHARS_MAX).map(safe).collect()
    } else {
        let host: String = profile.profile.host.chars().take(NAME_CHARS_MAX).map(safe).collect();
        format!("flamekeeper-spool-{host}-{}", utc_compact(WallNanos(profile.profile.started_nanos)))
    };
    let name = name.trim_start_matches('.');
    let name = if name.is_empty() { "unknown_service" } else { name };
    let numbered = |number: usize| match number {
        1 => format!("{name}{ending}"),
        number => format!("{name}-{number}{ending}"),
    };
    let free = (1..).map(numbered).find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

fn line(profile: &Exported, target: &Target, bytes: u64) -> String {
    let of = match profile.service.as_str() {
        "" => String::new(),
        service => format!(" of {service}"),
    };
    format!(
        "wrote {target} ({}): {} in {}{of}, {} from {} UTC",
        size(bytes),
        format_args!("{} of CPU time", seconds(profile.cpu())),
        plural(usize::try_from(profile.samples()).unwrap_or(usize::MAX), "sample"),
        plural(profile.windows, "window"),
        time(WallNanos(profile.profile.started_nanos)),
    )
}

/// How many things could not be read; says so.
fn tell_unreadable(export: &Export, console: &mut Console<'_>) -> usize {
    for unreadable in export.unreadable.iter().take(UNREADABLE_MAX) {
        let _unheard = writeln!(console.messages, "left out: {unreadable}");
    }
    let count = export.unreadable.len();
    if count > UNREADABLE_MAX {
        let _unheard = writeln!(console.messages, "left out: {} more", count - UNREADABLE_MAX);
    }
    count
}
