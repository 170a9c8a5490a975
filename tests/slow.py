"""Which tests are slow: those that took two seconds or more on two processors (`pytest --durations=0`).

The end-to-end tests have a marker of their own and are not listed. One test of the law takes longer and is not listed
either: `test_the_merge_agrees_with_the_simple_model` is the sample of the law in `make check`."""

from __future__ import annotations

SLOW_FIXTURES = frozenset({"thousand"})
"""Fixtures that take longer than that themselves."""

SLOW = frozenset(
    {
        "tests/client/test_lanes.py::test_the_lane_keeps_only_what_is_not_closed_yet",
        "tests/client/test_push.py::test_whatever_is_pushed_how_often_counts_once",
        "tests/client/test_server_answers.py::test_pushers_that_race_on_one_ref_all_arrive",
        "tests/client/test_waiting.py::test_a_held_delta_is_not_final",
        "tests/client/test_waiting.py::test_one_claims_and_the_other_is_told_who_holds_it",
        "tests/daemon/test_idle.py::test_a_primary_that_polls_all_the_time_shows_what_a_new_one_shows",
        "tests/engine/test_law.py::test_the_law_holds_on_each_engine",
        "tests/git/test_ref_files.py::test_every_look_shows_what_git_lists",
        "tests/git/test_ref_files.py::test_no_ref_falls_between_its_file_and_the_packed_ones",
        "tests/crash/test_crash_points.py::test_whatever_goes_wrong_the_next_start_goes_on_and_nothing_is_lost",
        "tests/model/test_model.py::test_every_mutant_breaks_its_property",
        "tests/model/test_model.py::test_every_property_holds_in_every_state",
        "tests/model/test_model.py::test_everything_that_happens_comes_to_an_end",
        "tests/core/test_codec.py::test_damaged_bytes_are_judged_as_by_a_strict_reader",
        "tests/core/test_codec.py::test_hand_written_json_is_judged_as_by_a_strict_reader",
        "tests/core/test_events.py::test_an_event_is_small_whatever_a_delta_holds",
        "tests/core/test_header.py::test_one_record_cannot_hold_any_number_of_values",
        "tests/core/test_codec.py::test_whatever_json_dumps_writes_is_judged_as_by_a_strict_reader",
        "tests/core/test_export.py::test_no_changed_byte_goes_unnoticed",
        "tests/core/test_guard.py::test_no_merge_loses_anything_and_what_it_added_is_what_it_would_lose",
        "tests/core/test_mistakes.py::test_a_document_has_mistakes_exactly_if_it_is_not_accepted",
        "tests/core/test_merge.py::test_any_order_and_any_batches_give_the_same_digest",
        "tests/daemon/test_closing.py::TestFrames::runTest",
        "tests/daemon/test_event_delivery.py::test_an_address_that_nobody_answers_at_leaves_time_for_the_next",
        "tests/daemon/test_receivers.py::test_a_program_that_fails_is_reported_in_words",
        "tests/daemon/test_event_backlog.py::test_a_cursor_resumed_anywhere_gives_exactly_the_rest",
        "tests/daemon/test_closing.py::test_a_day_of_frames_in_simulated_time",
        "tests/web/test_page.py::test_many_streams_frames_and_books_are_bounded",
        "tests/web/test_http_slow.py::test_git_has_files_left_in_a_daemon_that_is_crowded",
        "tests/web/test_http_slow.py::test_handshakes_that_are_not_ended_are_bounded_as_well",
        "tests/web/test_http_slow.py::test_probes_and_metrics_are_answered_whatever_others_do",
        "tests/web/test_http_slow.py::test_probes_are_answered_while_others_do_everything_at_once",
        "tests/law/test_answers.py::test_explain_and_receipt_agree_with_the_model",
        "tests/law/test_books.py::test_any_order_and_lateness_gives_the_books_of_the_simple_model",
        "tests/law/test_books.py::test_books_go_on_after_export_and_import",
        "tests/law/test_books.py::test_the_ledger_counts_what_the_library_holds",
        "tests/law/test_law.py::test_claims_are_decided_once_by_the_close_that_merges_them",
        "tests/law/test_model.py::test_the_model_does_not_depend_on_the_order_of_the_list",
        "tests/law/test_law.py::test_any_order_batches_duplicates_and_restarts_give_the_same_digest",
        "tests/law/test_law.py::test_export_and_import_half_way_change_nothing",
        "tests/law/test_law.py::test_large_sets_agree_with_the_model_through_splits",
        "tests/law/test_law.py::test_the_bytes_do_not_depend_on_the_hash_seed",
        "tests/git/test_clone.py::test_a_lock_that_maintenance_may_hold_is_waited_for",
        "tests/git/test_command.py::test_errors_without_end_cost_neither_memory_nor_more_than_the_time",
        "tests/simulation/test_simulation.py::test_a_failure_is_shown_by_its_shortest_script",
        "tests/simulation/test_simulation.py::test_an_old_fault_is_found_again",
        "tests/simulation/test_simulation.py::test_a_seed_gives_the_same_trace_in_every_process",
        "tests/simulation/test_simulation.py::test_no_seed_breaks_a_promise_and_all_that_matters_is_reached",
        "tests/stages/test_linear.py::test_primaries_at_a_distance_share_a_linear_history",
        "tests/git/test_quarantine.py::test_new_commits_of_a_push_are_the_difference_of_sets",
        "tests/git/test_reachability.py::test_new_is_the_difference_of_sets_whatever_the_dates",
        "tests/git/test_remote.py::test_a_server_that_sends_slowly_is_not_listened_to_for_ever",
        "tests/stages/test_largest_file.py::test_what_is_followed_is_what_a_whole_walk_finds",
        "tests/history/test_diff.py::test_the_cost_of_a_diff_follows_the_difference",
        "tests/history/test_mixture.py::test_two_primaries_a_day_apart_agree_on_every_frame_of_a_broken_fleet",
        "tests/history/test_verify.py::test_a_thousand_frames_verify",
    }
)
"""By node id, without parameters."""
