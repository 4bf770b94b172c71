//! One operation of the API and how it is written in the description.

use serde_json::{Value, json};

use super::reference;

/// What a request or an answer holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Nothing,
    /// JSON of this schema.
    Json(String),
    /// A merge patch of this schema.
    Patch(String),
    /// JSON of no fixed shape.
    AnyJson,
    Text,
    Events,
    /// A part of a file.
    Bytes,
    /// A tar archive.
    Tar,
}

impl Content {
    pub(super) fn json(name: &str) -> Self {
        Self::Json(name.to_owned())
    }

    pub(super) fn describe(&self) -> Option<Value> {
        Some(match self {
            Self::Nothing => return None,
            Self::Json(name) => json!({ "application/json": { "schema": reference(name) } }),
            Self::Patch(name) => json!({ "application/merge-patch+json": { "schema": {
                "type": "object",
                "description": format!("Parts of {name}; null takes a member away (RFC 7396)."),
            } } }),
            Self::AnyJson => json!({ "application/json": { "schema": { "type": "object" } } }),
            Self::Bytes => json!({ "application/partial-upload": { "schema": {
                "type": "string", "format": "binary",
            } } }),
            Self::Tar => json!({ "application/x-tar": { "schema": {
                "type": "string", "format": "binary",
            } } }),
            Self::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
            Self::Events => json!({ "text/event-stream": { "schema": reference("Change") } }),
        })
    }
}

pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) id: String,
    summary: &'static str,
    /// More than the summary, if anything.
    description: &'static str,
    query: &'static [(&'static str, &'static str)],
    request: Content,
    status: u16,
    answer: Content,
    /// Whether it needs no session.
    open: bool,
}

impl Operation {
    pub(super) fn new(
        method: &'static str,
        path: &str,
        id: impl Into<String>,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path: format!("/api/v1/{path}"),
            id: id.into(),
            summary,
            description: "",
            query: &[],
            request: Content::Nothing,
            status: 200,
            answer: Content::Nothing,
            open: false,
        }
    }

    pub(super) fn query(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    pub(super) fn says(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    pub(super) fn takes(mut self, request: Content) -> Self {
        self.request = request;
        self
    }

    pub(super) fn gives(mut self, status: u16, answer: Content) -> Self {
        self.status = status;
        self.answer = answer;
        self
    }

    pub(super) fn open(mut self) -> Self {
        self.open = true;
        self
    }

    pub(super) fn describe(&self) -> Value {
        let mut parameters: Vec<Value> = Vec::new();
        for part in self.path.split('/') {
            if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                parameters.push(json!({
                    "name": name, "in": "path", "required": true, "schema": { "type": "string" },
                }));
            }
        }
        for (name, description) in self.query {
            parameters.push(json!({
                "name": name, "in": "query", "description": description,
                "schema": { "type": "string" },
            }));
        }
        let mut good = json!({ "description": "Done." });
        if let (Some(content), Value::Object(good)) = (self.answer.describe(), &mut good) {
            good.insert("content".to_owned(), content);
        }
        let problem = json!({
            "description": "Refused.",
            "content": { "application/problem+json": { "schema": reference("Problem") } },
        });
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "responses": { self.status.to_string(): good, "default": problem },
        });
        if let Value::Object(operation) = &mut operation {
            if !self.description.is_empty() {
                operation.insert("description".to_owned(), json!(self.description));
            }
            if !parameters.is_empty() {
                operation.insert("parameters".to_owned(), json!(parameters));
            }
            if let Some(content) = self.request.describe() {
                let body = json!({ "required": true, "content": content });
                operation.insert("requestBody".to_owned(), body);
            }
            if self.open {
                operation.insert("security".to_owned(), json!([]));
            }
        }
        operation
    }
}
