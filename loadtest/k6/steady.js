// Steady traffic over many domains with a few WebSockets, for machines that have k6:
//
//     k6 run -e HTTP=http://127.0.0.1:8000 -e DOMAINS=100 loadtest/k6/steady.js
//
// The domains d0.scale.test … are those that loadtest/scale registers. The run fails on any failed request.
import http from "k6/http";
import { check } from "k6";

const base = __ENV.HTTP || "http://127.0.0.1:8000";
const domains = Number(__ENV.DOMAINS || 100);

export const options = {
  scenarios: {
    steady: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE || 1000),
      timeUnit: "1s",
      duration: __ENV.DURATION || "30s",
      preAllocatedVUs: 64,
      maxVUs: 512,
    },
  },
  thresholds: {
    http_req_failed: ["rate==0"],
    http_req_duration: ["p(99)<100"],
  },
};

export default function () {
  const host = `d${Math.floor(Math.random() * domains)}.scale.test`;
  const response = http.get(`${base}/1024`, { headers: { Host: host } });
  check(response, {
    "is 200": (answer) => answer.status === 200,
    "is whole": (answer) => answer.body.length === 1024,
  });
}
