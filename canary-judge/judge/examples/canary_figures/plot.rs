//! A plot of lines as SVG, drawn by hand.

/// Size of the drawing and of its margins: left, top, right for names, bottom.
const SIZE: (f64, f64) = (860.0, 400.0);
const MARGIN: (f64, f64, f64, f64) = (56.0, 34.0, 290.0, 44.0);
/// Colours that are told apart (Okabe, Ito), repeated dashed.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
];
/// The least value of a logarithmic axis.
const LEAST: f64 = 0.05;

/// A line and its name.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What is drawn.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) lines: Vec<Line>,
    /// Whether the y axis is.
    pub(crate) logarithmic: bool,
}

impl Plot {
    /// The drawing.
    pub(crate) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let right = points().map(|(x, _)| *x).fold(1.0, f64::max);
        let top = if self.logarithmic {
            100.0
        } else {
            points().map(|(_, y)| *y).fold(1.0, f64::max)
        };
        let (left_margin, top_margin, right_margin, bottom_margin) = MARGIN;
        let (width, height) = (
            SIZE.0 - left_margin - right_margin,
            SIZE.1 - top_margin - bottom_margin,
        );
        let at_x = |x: f64| left_margin + x / right * width;
        let at_y = |y: f64| {
            let part = if self.logarithmic {
                (y.max(LEAST) / LEAST).ln() / (top / LEAST).ln()
            } else {
                y / top
            };
            SIZE.1 - bottom_margin - part * height
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{left_margin}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
            SIZE.0, SIZE.1, self.title
        );
        let ticks_y: Vec<f64> = if self.logarithmic {
            vec![0.1, 1.0, 10.0, 100.0]
        } else {
            (0..=4).map(|part| top * f64::from(part) / 4.0).collect()
        };
        for y in ticks_y {
            let at = at_y(y);
            let end = SIZE.0 - right_margin;
            svg += &format!(
                "<line x1=\"{left_margin}\" y1=\"{at:.1}\" x2=\"{end}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{y}</text>\n",
                left_margin - 6.0,
                at + 4.0
            );
        }
        for part in 0..=4 {
            let x = right * f64::from(part) / 4.0;
            let at = at_x(x);
            let bottom = SIZE.1 - bottom_margin;
            svg += &format!(
                "<line x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#999\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{x}</text>\n",
                bottom + 4.0,
                bottom + 18.0
            );
        }
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text x=\"14\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {:.1})\">{}</text>\n",
            left_margin + width / 2.0,
            SIZE.1 - 8.0,
            self.x,
            top_margin + height / 2.0,
            top_margin + height / 2.0,
            self.y
        );
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let dash = if index < COLOURS.len() {
                ""
            } else {
                " stroke-dasharray=\"5 3\""
            };
            let path: Vec<String> = line
                .points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y)))
                .collect();
            let (x, y) = (
                SIZE.0 - right_margin + 14.0,
                top_margin + 10.0 + 18.0 * index as f64,
            );
            svg += &format!(
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"{dash} points=\"{}\"/>\
                 <line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"1.8\"{dash}/>\
                 <text x=\"{}\" y=\"{}\">{}</text>\n",
                path.join(" "),
                x + 22.0,
                x + 28.0,
                y + 4.0,
                line.name
            );
        }
        svg + "</svg>\n"
    }
}
