//! Conformance table of the cache: cases as text, one line for each exchange, and their parser.
//!
//! Nothing here knows how a case is run. A driver sends the requests, answers as the origin, lets the given
//! seconds pass, and compares; it may be a model with a virtual clock or a proxy with sockets.
//!
//! ```text
//! ## RFC 9111 §4.2.1: a lifetime ends
//! mode: safe
//! set: ttl=60
//! GET / | Accept: x <- 200 | Cache-Control: max-age=60 => MISS
//! + 30
//! GET / => HIT | Age: 30
//! ```
//! | part | meaning |
//! |---|---|
//! | `## RFC N §S: name` | begins a case |
//! | `mode:` | `safe` or `rfc9111`; both without it |
//! | `set:` | settings of the route, `key=value` |
//! | `with X: a \| b` | a case for each value, which stands for `{X}` in the lines below |
//! | `+ N` | N seconds pass |
//! | before `<-` | the request: method, target, fields; `body TEXT` |
//! | behind `<-` | the origin's answer if it is asked: status, fields, `body TEXT`, `bytes N`, `delay N`; `cut` |
//! | behind `=>` | what the client gets: value of `X-Cache-Status` or `LOCAL`, `status N`, fields, `!Field`, `body TEXT` (empty without one), `from N` (the body of the origin's Nth answer); `asks Field: value` and `asks !Field` for the request at the origin |
//! | `{date+N}`, `{rfc850+N}`, `{asctime+N}` | a date N seconds from now, or `-N` before |
//!
//! The body of an answer without `body` names its number. An origin without an answer must not be asked.

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Document and section, such as `RFC 9111 §4.2.1`.
    pub section: String,
    /// The behaviour.
    pub name: String,
    /// The only mode that it applies to.
    pub mode: Option<String>,
    /// Settings of the route that differ from the mode's defaults.
    pub settings: Vec<(String, String)>,
    /// Waits and exchanges, in order.
    pub steps: Vec<Step>,
}

/// Step of a case.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Seconds pass.
    Wait(u64),
    /// A request and its response.
    Exchange(Exchange),
}

/// One request, the origin's answer, and the expected response.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// The line of the table, for messages.
    pub line: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Fields of the request; values may have `{date+N}`.
    pub fields: Vec<(String, String)>,
    /// Body of the request.
    pub body: Option<String>,
    /// Answer of the origin, if it may be asked.
    pub answer: Option<Answer>,
    /// Expectations.
    pub expected: Vec<Expected>,
}

/// Answer of the origin.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A response.
    Response {
        /// The status.
        status: u16,
        /// Fields; values may have `{date+N}`.
        fields: Vec<(String, String)>,
        /// The body, if it is not the number of the answer.
        body: Option<String>,
        /// Seconds from request to response.
        delay: u64,
    },
    /// The connection ends without one.
    Cut,
}

/// Expectation of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Value of `X-Cache-Status`; `LOCAL` for a reply of the proxy's own.
    Outcome(String),
    /// Status of the response.
    Status(u16),
    /// Value of a field of the response.
    Field(String, String),
    /// A field that the response does not have.
    NoField(String),
    /// Body of the response.
    Body(String),
    /// Number of the origin's answer that the body is of.
    From(usize),
    /// Value of a field of the request at the origin.
    AskedField(String, String),
    /// A field that the request at the origin does not have.
    AskedNoField(String),
}

/// The table: files of this folder.
pub(crate) const TABLE: &[(&str, &str)] = &[
    ("storing.txt", include_str!("storing.txt")),
    ("freshness.txt", include_str!("freshness.txt")),
    ("validation.txt", include_str!("validation.txt")),
    ("variants.txt", include_str!("variants.txt")),
    ("requests.txt", include_str!("requests.txt")),
    ("extensions.txt", include_str!("extensions.txt")),
];

/// Returns all cases of the table, those with several values once for each.
///
/// # Panics
/// On a line that is none of the table's forms.
pub(crate) fn cases() -> Vec<Case> {
    TABLE.iter().flat_map(|(file, text)| parse(file, text)).collect()
}

pub(crate) fn parse(file: &str, text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for block in text.split("\n## ").skip(1) {
        let mut lines = block.lines().map(str::trim).filter(|line| !line.is_empty());
        let title = lines.next().unwrap_or_default();
        let Some((section, name)) = title.split_once(": ") else { panic!("{file}: {title}: no section") };
        let lines: Vec<&str> = lines.collect();
        let variable = lines.iter().find_map(|line| {
            let (name, values) = line.strip_prefix("with ")?.split_once(": ")?;
            Some((format!("{{{name}}}"), values.split(" | ").map(str::trim).collect::<Vec<_>>()))
        });
        let Some((variable, values)) = variable else {
            cases.push(parse_case(file, section, name, &lines));
            continue;
        };
        for value in values {
            let replaced: Vec<String> = lines.iter().map(|line| line.replace(&variable, value)).collect();
            let replaced: Vec<&str> = replaced.iter().map(String::as_str).collect();
            cases.push(parse_case(file, section, &format!("{name} ({value})"), &replaced));
        }
    }
    cases
}

fn parse_case(file: &str, section: &str, name: &str, lines: &[&str]) -> Case {
    let mut case = Case {
        section: section.to_owned(),
        name: name.to_owned(),
        mode: None,
        settings: Vec::new(),
        steps: Vec::new(),
    };
    for line in lines {
        if let Some(mode) = line.strip_prefix("mode: ") {
            case.mode = Some(mode.to_owned());
        } else if let Some(setting) = line.strip_prefix("set: ") {
            let Some((key, value)) = setting.split_once('=') else { panic!("{file}: {line}: no `=`") };
            case.settings.push((key.to_owned(), value.to_owned()));
        } else if let Some(seconds) = line.strip_prefix("+ ") {
            case.steps.push(Step::Wait(number(file, line, seconds)));
        } else if !line.starts_with("with ") {
            case.steps.push(Step::Exchange(parse_exchange(file, line)));
        }
    }
    case
}

fn parse_exchange(file: &str, line: &str) -> Exchange {
    let Some((asked, expected)) = line.split_once(" => ") else { panic!("{file}: {line}: no `=>`") };
    let (request, answer) = match asked.split_once(" <- ") {
        Some((request, answer)) => (request, Some(parse_answer(file, line, answer))),
        None => (asked, None),
    };
    let mut parts = request.split(" | ").map(str::trim);
    let Some((method, target)) = parts.next().and_then(|start| start.split_once(' ')) else {
        panic!("{file}: {line}: no method and target")
    };
    let mut exchange = Exchange {
        line: line.to_owned(),
        method: method.to_owned(),
        target: target.to_owned(),
        fields: Vec::new(),
        body: None,
        answer,
        expected: Vec::new(),
    };
    for part in parts {
        match part.strip_prefix("body ") {
            Some(body) => exchange.body = Some(body.to_owned()),
            None => exchange.fields.push(field(file, line, part)),
        }
    }
    exchange.expected = expected.split(" | ").map(|part| parse_expected(file, line, part.trim())).collect();
    exchange
}

fn parse_answer(file: &str, line: &str, answer: &str) -> Answer {
    let mut parts = answer.split(" | ").map(str::trim);
    let status = parts.next().unwrap_or_default();
    if status == "cut" {
        return Answer::Cut;
    }
    let (mut fields, mut body, mut delay) = (Vec::new(), None, 0);
    for part in parts {
        if let Some(text) = part.strip_prefix("body ") {
            body = Some(text.to_owned());
        } else if let Some(count) = part.strip_prefix("bytes ") {
            body = Some("x".repeat(usize::try_from(number(file, line, count)).unwrap_or(0)));
        } else if let Some(seconds) = part.strip_prefix("delay ") {
            delay = number(file, line, seconds);
        } else {
            fields.push(field(file, line, part));
        }
    }
    let status = u16::try_from(number(file, line, status)).unwrap_or(0);
    Answer::Response { status, fields, body, delay }
}

fn parse_expected(file: &str, line: &str, part: &str) -> Expected {
    if let Some(name) = part.strip_prefix("asks !") {
        return Expected::AskedNoField(name.to_owned());
    }
    if let Some(asked) = part.strip_prefix("asks ") {
        let (name, value) = field(file, line, asked);
        return Expected::AskedField(name, value);
    }
    match part.split_once(' ') {
        Some(("status", status)) => Expected::Status(u16::try_from(number(file, line, status)).unwrap_or(0)),
        Some(("from", answer)) => {
            Expected::From(usize::try_from(number(file, line, answer)).unwrap_or(usize::MAX))
        }
        Some(("body", body)) => Expected::Body(body.to_owned()),
        Some(_) => {
            let (name, value) = field(file, line, part);
            Expected::Field(name, value)
        }
        None if part == "body" => Expected::Body(String::new()),
        None => match part.strip_prefix('!') {
            Some(name) => Expected::NoField(name.to_owned()),
            None => Expected::Outcome(part.to_owned()),
        },
    }
}

fn field(file: &str, line: &str, part: &str) -> (String, String) {
    match part.split_once(':') {
        Some((name, value)) => (name.to_owned(), value.trim().to_owned()),
        None => panic!("{file}: {line}: `{part}` is no field"),
    }
}

fn number(file: &str, line: &str, text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|_| panic!("{file}: {line}: `{text}` is no number"))
}

/// Replaces the dates of a value. `format` writes a date of the kind `date`, `rfc850` or `asctime` for the
/// given number of seconds from now.
///
/// # Panics
/// On a date of another form.
pub(crate) fn with_dates(value: &str, format: impl Fn(&str, i64) -> String) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((date, after)) = after.split_once('}') else { panic!("{value}: no `}}`") };
        let at = date.find(['+', '-']).unwrap_or(date.len());
        let (kind, offset) = date.split_at(at);
        let offset = if offset.is_empty() { Some(0) } else { offset.trim_start_matches('+').parse().ok() };
        let Some(offset) = offset else { panic!("{value}: `{date}` is no date") };
        out.push_str(before);
        out.push_str(&format(kind, offset));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Writes a date, seconds since 1970, in one of its forms (RFC 9110 §5.6.7).
///
/// # Panics
/// On another form.
pub(crate) fn date(form: &str, at: i64) -> String {
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (days, seconds) = (at.div_euclid(86_400), at.rem_euclid(86_400));
    let (mut year, mut day) = (1970, days);
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 0;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let weekday = DAYS[days.rem_euclid(7) as usize];
    let (short, month, day) = (&weekday[..3], MONTHS[month], day + 1);
    let time = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match form {
        "date" => format!("{short}, {day:02} {month} {year} {time} GMT"),
        "rfc850" => format!("{weekday}, {day:02}-{month}-{:02} {time} GMT", year % 100),
        "asctime" => format!("{short} {month} {day:>2} {time} {year}"),
        _ => panic!("{form} is no form of a date"),
    }
}
