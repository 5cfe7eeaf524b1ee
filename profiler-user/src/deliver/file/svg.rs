//! A profile → a flame graph as one SVG file, to be opened in a browser: click to zoom, Ctrl-F to search.
//!
//! Drawn by inferno. What is decided here: which boxes there are (none narrower than a hair), their order,
//! their colours by where code runs, and what the title says. The same profile gives the same bytes.

use std::io::{self, Write};

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{Direction, Options, TextTruncateDirection};

use super::frames::width_unit;
use super::stacks::{StackLine, StackLines};
use crate::aggregate::profile::{Profile, SampledEvent, Space};

/// Boxes narrower than this share of the picture are not drawn: half a pixel of 1,600. It keeps single
/// samples of 15 s on two CPUs, and bounds the file: at most 3,333 boxes on a level.
const NARROWEST_PERCENT: f64 = 0.03;

/// inferno knows `_[w]` as a mark that colours a name and is not shown. It keeps a process apart from a
/// function of the same name.
const PROCESS_SUFFIX: &str = "_[w]";

/// Draws it.
pub(super) fn write(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let stacks = StackLines::of(profile);
    if stacks.total() == 0 {
        return write_empty(profile, out);
    }
    let drawn = draw(&stacks);
    let mut palette = drawn.palette;
    let mut options = Options::default();
    options.title = title(profile);
    options.subtitle = Some(subtitle(profile));
    options.count_name = width_unit(profile.event).to_owned();
    options.notes = notes(profile);
    options.min_width = NARROWEST_PERCENT;
    // Processes on top: a browser opens a page at its top, and the deepest stack sets the height.
    options.direction = Direction::Inverted;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.bgcolors = Some(BackgroundColor::Flat(WHITE));
    options.palette_map = Some(&mut palette);
    // Keeps the order of lines, which it takes from last to first; sorted by text, stacks of one function
    // are no neighbours where another's name begins with its name.
    options.flame_chart = true;
    inferno::flamegraph::from_lines(&mut options, drawn.text.lines().rev(), out)
}

/// What inferno is given.
struct Drawing {
    text: String,
    palette: PaletteMap,
}

/// Writes the stacks as lines, cut where boxes would be too narrow to be drawn: what is cut off would only
/// cost memory, and most of a big profile is.
fn draw(stacks: &StackLines<'_>) -> Drawing {
    let depths = visible_depths(stacks);
    let mut drawing = Drawing { text: String::new(), palette: PaletteMap::default() };
    // inferno's box below all, which else has a random colour.
    drawing.color("", Hue::MARKER);
    let mut lines = stacks.lines().iter().zip(&depths).peekable();
    while let Some((line, &depth)) = lines.next() {
        let shown = |line: &StackLine, depth: usize| stacks.frames(line).get(..depth).map(<[u32]>::to_vec);
        let (process, frames) = (stacks.process_name(line), shown(line, depth));
        let mut value = line.value;
        while let Some((next, _)) =
            lines.next_if(|(next, depth)| next.process == line.process && shown(next, **depth) == frames)
        {
            value = value.saturating_add(next.value);
        }
        drawing.text.push_str(process);
        drawing.text.push_str(PROCESS_SUFFIX);
        drawing.color(&format!("{process}{PROCESS_SUFFIX}"), Hue::PROCESS);
        for rank in frames.unwrap_or_default() {
            let (name, space) = stacks.frame_name(rank);
            drawing.text.push(';');
            drawing.text.push_str(name);
            drawing.color(name, Hue::of(space));
        }
        drawing.text.push_str(&format!(" {value}\n"));
    }
    drawing
}

impl Drawing {
    fn color(&mut self, name: &str, hue: Hue) {
        if self.palette.get(name).is_none() {
            self.palette.insert(name, hue.shade(name));
        }
    }
}

/// For each stack, how many of its frames are wide enough to be drawn. The stacks are sorted, so a box is
/// a run of neighbours that agree down to its depth.
fn visible_depths(stacks: &StackLines<'_>) -> Vec<usize> {
    let lines = stacks.lines();
    let narrowest = stacks.total() as f64 * NARROWEST_PERCENT / 100.0;
    let mut depths: Vec<usize> = lines.iter().map(|line| stacks.frames(line).len()).collect();
    // The boxes that the current line is in, outermost first: their first line, and the total before it.
    let mut open: Vec<(usize, u64)> = Vec::new();
    let mut total = 0_u64;
    let mut previous: Option<&StackLine> = None;
    for index in 0..=lines.len() {
        let line = lines.get(index);
        let shared = match (previous, line) {
            (Some(a), Some(b)) if a.process == b.process => {
                stacks.frames(a).iter().zip(stacks.frames(b)).take_while(|(a, b)| a == b).count()
            }
            _ => 0,
        };
        // Deepest first, so that the outermost narrow box has the last word.
        for (depth, &(first, before)) in open.iter().enumerate().skip(shared).rev() {
            if ((total - before) as f64) < narrowest {
                depths[first..index].iter_mut().for_each(|shown| *shown = (*shown).min(depth));
            }
        }
        open.truncate(shared);
        if let Some(line) = line {
            open.resize(stacks.frames(line).len(), (index, total));
            total = total.saturating_add(line.value);
        }
        previous = line;
    }
    depths
}

const WHITE: Color = Color { r: 255, g: 255, b: 255 };

/// A colour with room for shades, all light enough for black text (contrast 7:1 and more).
#[derive(Clone, Copy)]
struct Hue {
    darkest: [u8; 3],
    lightest: [u8; 3],
}

impl Hue {
    /// Green: processes.
    const PROCESS: Self = Self { darkest: [150, 205, 150], lightest: [190, 230, 185] };
    /// Amber to yellow: programs and libraries.
    const USER: Self = Self { darkest: [245, 160, 70], lightest: [255, 215, 110] };
    /// Blue: the kernel.
    const KERNEL: Self = Self { darkest: [125, 175, 235], lightest: [175, 210, 250] };
    /// Grey: notes.
    const MARKER: Self = Self { darkest: [210, 210, 210], lightest: [225, 225, 225] };

    const fn of(space: Space) -> Self {
        match space {
            Space::User => Self::USER,
            Space::Kernel => Self::KERNEL,
            Space::Marker => Self::MARKER,
        }
    }

    /// The shade that a name always has.
    fn shade(self, name: &str) -> Color {
        // FNV-1a; its high bits are the mixed ones.
        let fold = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let [.., step] = name.bytes().fold(0x811c_9dc5, fold).to_le_bytes();
        let between = |dark: u8, light: u8| {
            let range = u16::from(light.saturating_sub(dark));
            let up = range * u16::from(step) / u16::from(u8::MAX);
            dark.saturating_add(u8::try_from(up).unwrap_or(0))
        };
        let [r, g, b] = [0, 1, 2].map(|i: usize| between(self.darkest[i], self.lightest[i]));
        Color { r, g, b }
    }
}

/// What XML can hold of a text that came from outside.
fn printable(text: &str) -> String {
    let is_bad = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if is_bad(c) { ' ' } else { c }).collect()
}

fn title(profile: &Profile) -> String {
    let what = match profile.event {
        SampledEvent::CpuClock { .. } => "CPU time",
        SampledEvent::Cycles { .. } => "CPU cycles",
    };
    format!("{what} on {}", printable(&profile.host))
}

fn subtitle(profile: &Profile) -> String {
    let samples: u64 = profile.samples.iter().map(|sample| sample.count).sum();
    let weight: u64 = profile.samples.iter().map(|sample| sample.weight).sum();
    let (rate, worth) = match profile.event {
        SampledEvent::CpuClock { period_nanos } => {
            (1e9 / period_nanos.max(1) as f64, format!("{:.1} s of CPU time", weight as f64 / 1e9))
        }
        SampledEvent::Cycles { rate_hz } => (f64::from(rate_hz), format!("{:.2e} cycles", weight as f64)),
    };
    let seconds = profile.duration.as_secs_f64();
    format!(
        "{samples} samples at {} Hz in {seconds:.1} s = {worth} · green: process, yellow: program, blue: kernel",
        (rate * 10.0).round() / 10.0
    )
}

/// The comments, as a comment in the file: what was lost, how complete the stacks are.
fn notes(profile: &Profile) -> String {
    // Two hyphens would end the XML comment.
    profile.comments.iter().map(|line| printable(line).replace("--", "- -")).collect::<Vec<_>>().join("; ")
}

/// A picture that says that there is nothing to see.
fn write_empty(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(out, r#"<svg version="1.1" width="1200" height="60" xmlns="http://www.w3.org/2000/svg">"#)?;
    writeln!(out, r#"<rect width="100%" height="100%" fill="white"/>"#)?;
    writeln!(
        out,
        r#"<text x="600" y="35" text-anchor="middle" font-family="monospace">{}: no samples in {:.1} s</text>"#,
        escape(&title(profile)),
        profile.duration.as_secs_f64()
    )?;
    writeln!(out, "</svg>")
}
