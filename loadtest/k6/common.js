// What the scenarios share: whom they ask, and what counts as a good answer.
import http from "k6/http";
import { check } from "k6";

const base = __ENV.HTTP || "http://127.0.0.1:8000";
const domains = Number(__ENV.DOMAINS || 100);

// A duration as the environment says it, or the document's.
export const duration = (usual) => __ENV.DURATION || usual;

// Requests a second, likewise.
export const rate = (usual) => Number(__ENV.RATE || usual);

// What the documents ask of every scenario but the one that goes on until something gives.
export const thresholds = {
  http_req_failed: ["rate<0.001"],
  http_req_duration: ["p(95)<50"],
  checks: ["rate>0.999"],
};

// One request to any of the domains d0.scale.test, d1.scale.test, …
export function ask() {
  const host = `d${Math.floor(Math.random() * domains)}.scale.test`;
  const response = http.get(`${base}/1024`, { headers: { Host: host } });
  check(response, {
    "is 200": (answer) => answer.status === 200,
    "is whole": (answer) => answer.body !== null && answer.body.length === 1024,
  });
}
