//! Small blocking client of the admin API.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Client, Fault, Message, SOON_ON_DISK, eventually_within};

/// Admin API of one process. Every call uses its own connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Api {
    address: SocketAddr,
}

/// Response of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    api: Api,
    pub(crate) status: u16,
    pub(crate) message: Message,
    /// Null without a body.
    pub(crate) json: Value,
}

impl Answer {
    /// Waits until the change is on every core. On a busy machine a core may be later than the API waits;
    /// then the API responds with 202, and this waits and counts it as `success`.
    #[track_caller]
    pub(crate) fn everywhere(mut self, success: u16) -> Self {
        if self.status == 202 {
            eventually_within(SOON_ON_DISK, "all cores serve it", || self.api.have_cores_all().then_some(()));
            self.status = success;
        }
        self
    }

    /// Asserts the status; a success is complete once it is on every core.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        let this = match status {
            200 | 201 | 204 => self.everywhere(status),
            _ => self,
        };
        assert_eq!(this.status, status, "{} {}", this.message.first_line, this.message.text());
        this
    }

    /// Revision in the body or the ETag.
    #[track_caller]
    pub(crate) fn revision(&self) -> u64 {
        if let Some(revision) = self.json["revision"].as_u64() {
            return revision;
        }
        let tag = self.message.field("etag").unwrap_or_else(|| panic!("no revision in {self:?}"));
        tag.trim_matches(['"', 'W', '/']).parse().unwrap_or_else(|_| panic!("no revision in {tag}"))
    }
}

impl Api {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.call_with(method, path, &[], body)
    }

    pub(crate) fn call_with(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        } else if method != "GET" {
            head.push_str("Content-Length: 0\r\n");
        }
        head.push_str("\r\n");
        self.raw(method, &format!("{head}{body}"))
    }

    /// Like [`Api::call`], for a process that may have exited.
    pub(crate) fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Message, Fault> {
        let body = body.to_string();
        let mut client = Client::try_connect(self.address).map_err(Fault::Socket)?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        client.try_send(format!("{head}{body}")).map_err(Fault::Socket)?;
        client.within(SOON_ON_DISK).patiently(method)
    }

    /// Sends any bytes, also malformed ones.
    pub(crate) fn raw(&self, method: &str, bytes: &str) -> Answer {
        let mut client = Client::connect(self.address);
        client.send(bytes);
        let message = client.within(SOON_ON_DISK).patient_response(method);
        let is_json = message.field("content-type").is_some_and(|kind| kind.contains("json"));
        let json = if is_json && !message.body.is_empty() { message.json() } else { Value::Null };
        Answer { api: *self, status: message.status(), message, json }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body))
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, Some(body))
    }

    pub(crate) fn delete(&self, path: &str, body: &Value) -> Answer {
        self.call("DELETE", path, Some(body))
    }

    /// Whether every core has the latest snapshot.
    pub(crate) fn have_cores_all(&self) -> bool {
        let text = self.get("/metrics").message.text();
        let values = |name: &str| -> Vec<u64> {
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
        };
        let (published, cores) = (values("ringway_published_serial "), values("ringway_core_serial{"));
        !cores.is_empty() && cores.iter().all(|core| published.iter().all(|published| core >= published))
    }

    /// Registers an app with an instance that is checked by TCP.
    #[track_caller]
    pub(crate) fn register(&self, app: &str, instance: &str, target: &str) -> Answer {
        let body = json!({ "app_id": app, "app_name": app, "instance": { "instance_id": instance, "target": target } });
        self.post("/api/apps/register", &body).is(201)
    }

    /// Adds an instance that is checked at `/health`.
    #[track_caller]
    pub(crate) fn add_checked(&self, app: &str, instance: &str, target: &str) -> Answer {
        let body =
            json!({ "app_id": app, "instance_id": instance, "target": target, "health_check": "/health" });
        self.post("/api/apps/instances", &body).is(201)
    }

    /// Adds an instance that is checked by TCP.
    #[track_caller]
    pub(crate) fn add(&self, app: &str, instance: &str, target: &str) -> Answer {
        let body = json!({ "app_id": app, "instance_id": instance, "target": target });
        self.post("/api/apps/instances", &body).is(201)
    }

    #[track_caller]
    pub(crate) fn remove(&self, instance: &str) {
        self.delete("/api/apps/instances", &json!({ "instance_id": instance })).is(204);
    }

    /// Adds a domain: custom with a tenant, else a subdomain.
    #[track_caller]
    pub(crate) fn domain(&self, domain: &str, app: &str, tenant: Option<&str>) -> Answer {
        match tenant {
            None => {
                let body = json!({ "domain": domain, "app_id": app, "type": "subdomain" });
                self.post("/api/tenants/domains", &body).is(201)
            }
            Some(tenant) => {
                let body = json!({ "domain": domain, "app_id": app, "tenant_id": tenant });
                self.post("/api/tenants/custom-domains", &body).is(201)
            }
        }
    }

    #[track_caller]
    pub(crate) fn app(&self, app: &str) -> Value {
        self.post("/api/apps/get", &json!({ "app_id": app })).is(200).json
    }

    /// Instance in the details of an app.
    #[track_caller]
    pub(crate) fn instance(&self, app: &str, instance: &str) -> Value {
        let details = self.app(app);
        let instances = details["instances"].as_array().cloned().unwrap_or_default();
        instances
            .into_iter()
            .find(|one| one["instance_id"] == instance)
            .unwrap_or_else(|| panic!("no instance {instance} in {details}"))
    }
}
