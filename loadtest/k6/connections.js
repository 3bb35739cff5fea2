// 1,500 connections at the same time, each with a request every second or so.
import { sleep } from "k6";
import { ask, duration, thresholds } from "./common.js";

export const options = {
  scenarios: {
    connections: {
      executor: "constant-vus",
      vus: Number(__ENV.CONNECTIONS || 1500),
      duration: duration("1m"),
    },
  },
  thresholds,
};

export default function () {
  ask();
  sleep(0.5 + Math.random());
}
