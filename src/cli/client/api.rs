//! Calls of the admin API, and the output of their responses.

use std::time::Duration;

use ringway_wire::message::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::{ApiError, Failure};
use super::http::{HttpClient, HttpResponse};
use super::text::{self, Style, Table};
use super::{parse, print, target};

/// Output format of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Text,
    Json,
}

/// Admin API of a running ringway.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) client: HttpClient,
    pub(super) output: Output,
    pub(super) style: Style,
}

impl Api {
    /// Sends a request; an error response is a failure.
    pub(super) fn call(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<HttpResponse, Failure> {
        Self::call_by(&self.client, method, target, body)
    }

    /// Like [`Api::call`], for a response that the API delays by up to `more`.
    pub(super) fn call_within(
        &self,
        more: Duration,
        method: Method,
        target: &str,
        body: &Value,
    ) -> Result<HttpResponse, Failure> {
        let client = self.client.clone();
        let timeout = client.request_timeout().saturating_add(more);
        Self::call_by(&client.timeout(timeout), method, target, Some(body))
    }

    /// Like [`Api::call`], on condition that the configuration is at this revision.
    pub(super) fn call_at(
        &self,
        method: Method,
        target: &str,
        body: &Value,
        revision: u64,
    ) -> Result<HttpResponse, Failure> {
        Self::call_by(&self.client.clone().if_match(&revision.to_string()), method, target, Some(body))
    }

    /// Like [`Api::call`], on condition that the set has this version.
    pub(super) fn call_if(
        &self,
        version: &str,
        method: Method,
        target: &str,
        body: &Value,
    ) -> Result<HttpResponse, Failure> {
        Self::call_by(&self.client.clone().if_match(version), method, target, Some(body))
    }

    fn call_by(
        client: &HttpClient,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<HttpResponse, Failure> {
        let body = body.map(Value::to_string);
        let response = client
            .send(method, target, body.as_deref().map(str::as_bytes))
            .map_err(|error| Failure::Unreachable { address: client.address().clone(), error })?;
        match response.status {
            200..=299 => Ok(response),
            _ => Err(Failure::Refused(Box::new(ApiError::of(&response)))),
        }
    }

    /// Sends a request and prints the response: the body itself with `--json`, else the text that `show`
    /// makes of it.
    pub(super) fn show<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
        show: impl FnOnce(T, Style) -> String,
    ) -> Result<(), Failure> {
        let response = self.call(method, target, body)?;
        match self.output {
            Output::Json => self.print_json(&response.body),
            Output::Text => print(&show(parse(&response)?, self.style)),
        }
    }

    /// Makes a change and prints its receipt.
    pub(super) fn change(
        &self,
        method: Method,
        target: &str,
        body: &Value,
        what: &str,
    ) -> Result<(), Failure> {
        let response = self.call(method, target, Some(body))?;
        match self.output {
            Output::Json => self.print_json(&response.body),
            Output::Text => {
                let receipt: Receipt = match response.body.is_empty() {
                    true => Receipt::default(),
                    false => parse(&response)?,
                };
                print(&receipt.text(what, method))
            }
        }
    }

    /// Prints a list: all of its pages, or `limit` items.
    pub(super) fn list<T: DeserializeOwned>(
        &self,
        list: &List<'_>,
        table: Table,
        row: impl Fn(&mut Table, T),
    ) -> Result<(), Failure> {
        let mut table = table;
        let mut pages: Option<Value> = None;
        let mut after: Option<String> = None;
        let mut left = list.limit.unwrap_or(usize::MAX);
        let mut total = 0;
        while left > 0 {
            let mut query: Vec<(&str, &str)> =
                list.filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
            let limit = left.min(ringway_model::limits::PAGE_ITEMS_MAX).to_string();
            query.push(("limit", &limit));
            if let Some(after) = &after {
                query.push(("after", after));
            }
            let response = self.call(Method::Get, &target(list.path, &query), None)?;
            let mut page: Value = parse(&response)?;
            let next = page["next"].as_str().map(str::to_owned);
            if self.output == Output::Json && pages.is_none() && (next.is_none() || list.limit.is_some()) {
                return self.print_json(&response.body);
            }
            let items = match page[list.items].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            total = page["total"].as_u64().unwrap_or(items.len() as u64);
            left = left.saturating_sub(items.len());
            let is_empty = items.is_empty();
            match self.output {
                Output::Json => append_page(&mut pages, page, list.items, items),
                Output::Text => {
                    for item in items {
                        let item = serde_json::from_value(item)
                            .map_err(|error| Failure::Unexpected { status: response.status, error })?;
                        row(&mut table, item);
                    }
                }
            }
            match next {
                Some(next) if !is_empty => after = Some(next),
                _ => break,
            }
        }
        match self.output {
            Output::Json => self.print_json(pages.unwrap_or_default().to_string().as_bytes()),
            Output::Text if table.is_empty() => print(&format!("no {}\n", list.items)),
            Output::Text => {
                let mut text = table.render(self.style);
                let shown = table.len() as u64;
                if shown < total {
                    text.push_str(&format!("{shown} of {total} {}\n", list.items));
                }
                print(&text)
            }
        }
    }

    /// Prints a body with a final line feed; on a terminal, with its control characters escaped.
    pub(super) fn print_json(&self, body: &[u8]) -> Result<(), Failure> {
        if body.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim_end();
        print(&match self.style.is_terminal() {
            true => text::escape_json(text) + "\n",
            false => format!("{text}\n"),
        })
    }
}

/// List of the API.
pub(super) struct List<'a> {
    pub(super) path: &'a str,
    /// Name of the items, in the response and in messages.
    pub(super) items: &'a str,
    pub(super) filters: Vec<(&'a str, Option<String>)>,
    pub(super) limit: Option<usize>,
}

/// Merges the pages of a list into one object of the same shape.
pub(super) fn append_page(pages: &mut Option<Value>, page: Value, name: &str, items: Vec<Value>) {
    let merged = pages.get_or_insert(page);
    merged["next"] = Value::Null;
    match &mut merged[name] {
        Value::Array(all) => all.extend(items),
        none => *none = Value::Array(items),
    }
}

/// Receipt of a change.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Receipt {
    revision: Option<u64>,
    outcome: Option<String>,
    generation: Option<u64>,
    /// Cores that have not applied it yet.
    pending: Vec<u64>,
}

impl Receipt {
    pub(super) fn text(&self, what: &str, method: Method) -> String {
        let done = match &self.outcome {
            Some(outcome) => text::escape(outcome),
            None if method == Method::Delete => "removed".to_owned(),
            None => "done".to_owned(),
        };
        let mut facts = Vec::new();
        facts.extend(self.revision.map(|revision| format!("revision {revision}")));
        facts.extend(self.generation.map(|generation| format!("generation {generation}")));
        let mut out = format!("{}: {done}", text::escape(what));
        if !facts.is_empty() {
            out.push_str(&format!(" ({})", facts.join(", ")));
        }
        if !self.pending.is_empty() {
            let cores: Vec<String> = self.pending.iter().map(u64::to_string).collect();
            out.push_str(&format!("; stored, but these cores do not serve it yet: {}", cores.join(", ")));
        }
        out + "\n"
    }
}
