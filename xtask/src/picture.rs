//! `cargo xtask picture [binary]`: the demo as it looks on a terminal, half way and at its end, as `docs/demo.svg`.
//!
//! The binary, else the release one, runs under `script`, which gives it a terminal; what it writes there is drawn, character
//! by character.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Size of the terminal.
const COLUMNS: usize = 104;
/// Advance and line height of the font, in the units of the picture.
const ADVANCE: f64 = 7.25;
const LINE: usize = 17;
const MARGIN: usize = 16;

/// Runs the demo and draws it.
pub fn picture(root: &Path, binary: &Path) -> Result<()> {
    let binary = binary.canonicalize()?;
    let home = tempfile::tempdir()?;
    let command = format!("stty cols {COLUMNS} rows 60; '{}' demo", binary.display());
    let shown = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(home.path())
        .stdin(Stdio::null())
        .output()
        .context("`script` (of util-linux) gives the demo a terminal")?;
    ensure!(shown.status.success(), "the demo fails");
    let shown = String::from_utf8(shown.stdout)?.replace(&binary.display().to_string(), "skuflow");
    let mut lines = vec![Line::plain("$ skuflow demo")];
    lines.extend(screen(&shown)?);
    std::fs::create_dir_all(root.join("docs"))?;
    std::fs::write(root.join("docs/demo.svg"), svg(&lines))?;
    Ok(())
}

/// A line of the screen: pieces of text, some of them in the colour of the bar, some dim.
#[derive(Clone, Debug, PartialEq)]
struct Line(Vec<(&'static str, String)>);

impl Line {
    fn plain(text: &str) -> Self {
        Self(vec![("", text.to_owned())])
    }

    /// Reads SGR codes; all others are left out.
    fn parse(written: &str) -> Self {
        let mut pieces = Vec::new();
        let mut class = "";
        for (at, part) in written.split('\x1b').enumerate() {
            let text = match part.split_once(|c: char| c.is_ascii_alphabetic()) {
                Some((code, text)) if at > 0 => {
                    class = match code {
                        "[36" => "bar",
                        "[2" => "dim",
                        "[0" => "",
                        _ => class,
                    };
                    text
                }
                _ => part,
            };
            if !text.is_empty() {
                pieces.push((class, text.to_owned()));
            }
        }
        Self(pieces)
    }

    /// How far its bar is, where it has one.
    fn percent(&self) -> Option<u64> {
        let first = self.0.first()?.1.trim();
        first.strip_suffix('%')?.trim().parse().ok()
    }
}

/// What the terminal shows at the end, and, where it was, the bar as it first stood at half or more.
fn screen(written: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for line in written.split('\n') {
        // A carriage return and an erased line begin a frame; the last frame of a line is the one that stays.
        let frames: Vec<Line> = line.trim_end_matches('\r').split("\r\x1b[2K").map(Line::parse).collect();
        lines.extend(frames.iter().find(|frame| frame.percent().is_some_and(|percent| percent >= 50)).cloned());
        lines.extend(frames.last().cloned());
    }
    ensure!(lines.iter().any(|line| line.percent().is_some()), "there was no bar");
    while lines.last().is_some_and(|line| line.0.is_empty()) {
        lines.pop();
    }
    Ok(lines)
}

/// A character, and its class.
type Cell = (&'static str, char);

/// A line in the width of the terminal.
fn wrapped(line: Vec<Cell>) -> Vec<Vec<Cell>> {
    if line.is_empty() { vec![line] } else { line.chunks(COLUMNS).map(<[Cell]>::to_vec).collect() }
}

/// Pieces of one class without two spaces in a row, each with the column it begins at: not every viewer keeps spaces.
fn runs(cells: &[Cell]) -> Vec<(usize, &'static str, String)> {
    let mut runs: Vec<(usize, &'static str, String)> = Vec::new();
    let mut goes_on = false;
    for (column, (class, c)) in cells.iter().enumerate() {
        let is_space = |at: usize| cells.get(at).is_none_or(|(_, c)| *c == ' ');
        if is_space(column) && (!goes_on || is_space(column + 1)) {
            goes_on = false;
            continue;
        }
        match runs.last_mut().filter(|(_, last, _)| goes_on && last == class) {
            Some((_, _, text)) => text.push(*c),
            None => runs.push((column, class, c.to_string())),
        }
        goes_on = true;
    }
    runs
}

/// Text on a rounded ground, in the colours that the reader's system prefers.
fn svg(lines: &[Line]) -> String {
    let width = (COLUMNS as f64 * ADVANCE) as usize + 2 * MARGIN;
    let cells = |line: &Line| line.0.iter().flat_map(|(class, text)| text.chars().map(|c| (*class, c))).collect();
    let rows: Vec<Vec<Cell>> = lines.iter().map(cells).flat_map(wrapped).collect();
    let height = rows.len() * LINE + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"skuflow demo on a terminal\">\n<style>\n\
         rect {{ fill: #f6f8fa; stroke: #d0d7de }}\n\
         text {{ font: 12px ui-monospace, 'SFMono-Regular', Menlo, Consolas, 'DejaVu Sans Mono', monospace; \
         fill: #1f2328 }}\n\
         .bar {{ fill: #0969da }}\n.dim {{ fill: #afb8c1 }}\n\
         @media (prefers-color-scheme: dark) {{\n  rect {{ fill: #161b22; stroke: #30363d }}\n  text {{ fill: #e6edf3 }}\n  \
         .bar {{ fill: #58a6ff }}\n  .dim {{ fill: #484f58 }}\n}}\n</style>\n\
         <rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
        width - 1,
        height - 1
    );
    for (row, cells) in rows.iter().enumerate() {
        for (column, class, text) in runs(cells) {
            let (x, y) = (MARGIN as f64 + column as f64 * ADVANCE, MARGIN + row * LINE + LINE * 3 / 4);
            let length = text.chars().count() as f64 * ADVANCE;
            let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            svg.push_str(&format!("<text x=\"{x:.1}\" y=\"{y}\" textLength=\"{length:.1}\"{class}>{text}</text>\n"));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_shown_half_way_and_the_rest_as_it_stays() {
        let frame = |percent: u32| format!("\r\x1b[2K  {percent:>3} % \x1b[36m━━\x1b[2m──\x1b[0m\x1b[0m  at work");
        let written =
            format!("made it\r\n{}{}{}\r\x1b[2K  records\r\n    read  <1>\r\n", frame(49), frame(51), frame(99));
        let lines = screen(&written).expect("a bar");
        let shown: Vec<String> =
            lines.iter().map(|line| line.0.iter().map(|(_, text)| text.as_str()).collect()).collect();
        assert_eq!(shown, ["made it", "   51 % ━━──  at work", "  records", "    read  <1>"]);
        assert_eq!(lines[1].0[1], ("bar", "━━".to_owned()));
        let drawn = svg(&lines);
        assert!(
            drawn.contains("class=\"dim\">──<") && drawn.contains(">read</text>") && drawn.contains(">&lt;1></text>"),
            "{drawn}"
        );
        assert!(screen("no bar at all").is_err());
    }
}
