//! The part of `docs/canary.md` that this program writes: what stands between its marks. The rest is written by people.

use std::path::Path;

/// Around the part.
const BEGIN: &str = "<!-- made by make canary-figures -->";
const END: &str = "<!-- up to here -->";

/// The tables.
pub(crate) struct Page {
    pub(crate) null: String,
    pub(crate) effects: String,
    pub(crate) shapes: String,
    pub(crate) reported: String,
}

impl Page {
    /// Puts the part into the document at `path`, or at the end of it.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|_| "# Canary judgement\n".to_owned());
        let (before, after) = match (text.split_once(BEGIN), text.split_once(END)) {
            (Some((before, _)), Some((_, after))) => (before.to_owned(), after.to_owned()),
            _ => (text + "\n", "\n".to_owned()),
        };
        std::fs::write(
            path,
            format!("{before}{BEGIN}\n\n{}\n{END}{after}", self.part()),
        )
    }

    fn part(&self) -> String {
        format!(
            "### Good canaries that fail\n\n\
             Both sides have the same distribution (level 100, deviation 10) for 1,440 steps and are watched at every one, α = 0.01, \
             no margin: the border of the hypothesis, where failing is likeliest. The block of each run is calibrated on A/A data of \
             its own, a week of steps (the median is shown).\n\n\
             {}\n\
             ![Good canaries that failed](canary/false-alarms.svg)\n\n\
             ### Bad canaries that are found\n\n\
             Normal values, mean 100 and deviation 10, the canary's mean larger by the effect; 60 steps, α = 0.01, the default margin \
             of 5 %, 2,000 runs a row. The compatible judge looks once, at step 60. The threshold rule fails a canary that is 20 % above \
             its baseline on three steps in a row. An early pass is one with the default critical margin of 25 %, β = 0.05.\n\n\
             {}\n\
             ![Found, by effect](canary/detected.svg)\n\n\
             ![Steps that a bad canary serves](canary/time.svg)\n\n\
             Other kinds of values, without a margin:\n\n\
             {}\n\
             ### spinnaker/spinnaker#6278\n\n\
             A baseline of ten times 1, and a canary of seven times 100 and three times 1:\n\n{}",
            self.null, self.effects, self.shapes, self.reported
        )
    }
}
