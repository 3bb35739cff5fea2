//! Active health checks: probes, the rise and fall machine, a jittered schedule.
