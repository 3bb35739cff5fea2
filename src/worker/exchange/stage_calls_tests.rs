use super::*;

#[test]
fn a_pool_takes_no_more_calls_than_are_free_for_others() {
    let calls = Calls::default();
    let fill = |pool| std::iter::repeat_with(|| calls.begin(PoolId(pool))).take_while(|begun| *begun).count();
    let max = limits::CALLS_PER_CORE_MAX;
    assert_eq!(fill(1), max / 2);
    // The others share the rest in the same way: there is room for every one of the first few.
    assert_eq!(fill(2), max / 4);
    assert!(fill(3) > 0 && fill(4) > 0 && fill(5) > 0);
    assert!(calls.count() <= max);
    for _ in 0..max / 2 {
        calls.end(PoolId(1));
    }
    assert!(!calls.by_pool.borrow().contains_key(&PoolId(1)));
    assert!(calls.begin(PoolId(1)) && calls.begin(PoolId(2)));
}

#[test]
fn stages_get_an_error_for_each_kind_of_failure() {
    for (failure, error) in [
        (Failure::ConnectFailed, CallError::Connect),
        (Failure::UpstreamTlsFailed, CallError::Connect),
        (Failure::UpstreamNoHttp2, CallError::Connect),
        (Failure::ConnectTimedOut, CallError::Timeout),
        (Failure::ResponseStalled, CallError::Timeout),
        (Failure::UpstreamClosed, CallError::Broken),
        (Failure::ResponseCut, CallError::Broken),
        (Failure::BadResponse(ResponseError::BadStatusLine), CallError::Invalid),
        (Failure::BadResponse(ResponseError::Head(HeadFault::BareCr)), CallError::Invalid),
        (Failure::BadResponse(ResponseError::Head(HeadFault::HeadTooLarge)), CallError::TooLarge),
        (Failure::InterimFlood, CallError::Invalid),
    ] {
        assert_eq!(error_of(failure), error, "{failure:?}");
    }
}
