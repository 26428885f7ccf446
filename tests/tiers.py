"""Which test runs when: the one list of all test files, which `tests/unit/test_tiers.py` holds against the folders.

quick      `make check`: unit tests that read no documents and start no processes
default    `python3 run_tests.py`, `.ci/run`: these, and each behaviour once on real servers and processes
full       `python3 run_tests.py --full`, `.ci/nightly`: everything, in parts

An entry is a folder, a file, or a test (`file.py::TestX`, `file.py::test_y`) of `tests/`; the longest one that fits
decides. A test that is marked `full` is of that tier wherever it stands.
"""

from enum import StrEnum


class Tier(StrEnum):
    QUICK = "quick"
    DEFAULT = "default"
    FULL = "full"

    def is_in(self, other: "Tier") -> bool:
        """Whether a run of `other` has the tests of this tier."""
        order = [*Tier]
        return order.index(self) <= order.index(other)


TIERS: dict[Tier, tuple[str, ...]] = {
    Tier.QUICK: (
        "unit/api/", "unit/beat/", "unit/broker/", "unit/chart/", "unit/client/", "unit/core/", "unit/db/", "unit/doctor/", "unit/launcher/", "unit/live/", "unit/maintenance/", "unit/mcp/", "unit/outbound/",
        "unit/schedules/", "unit/schemas/", "unit/services/", "unit/tasks/", "unit/web/", "unit/worker/", "unit/workflows/", "unit/test_routing.py",
        "unit/test_task_status_update.py", "unit/test_tiers.py",
    ),
    Tier.DEFAULT: (
        "unit/client/test_cli_start.py", "unit/client/test_requests.py", "unit/launcher/test_installing.py", "unit/schedules/test_cron_times.py", "unit/storage/", "unit/scripts/", "unit/support/", "unit/test_architecture.py", "unit/test_containers.py",
        "unit/test_chinese_documents.py", "unit/test_conventions.py", "unit/test_documents.py", "unit/test_house.py",
        "unit/test_examples.py", "unit/test_minimum_versions.py", "unit/test_packages.py", "unit/test_portable_sql.py",
        "unit/test_requirements_lock.py", "unit/test_statement_packages.py", "unit/test_worker_start.py",
        "integration/test_account_statements.py", "integration/test_accounts.py", "integration/test_answer_sizes.py", "integration/test_api_keys.py",
        "integration/test_audit_denials.py", "integration/test_audit_events.py", "integration/test_audit_list.py",
        "integration/test_audit_pruning.py", "integration/test_audit_roles.py", "integration/test_auth.py",
        "integration/test_bulk.py", "integration/test_bulk_requests.py",
        "integration/test_beat_import.py",
        "integration/test_bulk_steps.py", "integration/test_claims.py", "integration/test_claims_at_once.py",
        "integration/test_completions.py", "integration/test_concurrent_reads.py", "integration/test_deadlocks.py",
        "integration/test_direct_requests.py", "integration/test_embedded_services.py",
        "integration/test_error_groups.py", "integration/test_error_groups_api.py",
        "integration/test_error_groups_list.py", "integration/test_events.py", "integration/test_events_hints.py",
        "integration/test_every_process.py", "integration/test_express_slot.py", "integration/test_first_start.py", "integration/test_forking.py",
        "integration/client/", "integration/files/", "integration/test_groups.py", "integration/test_harness.py",
        "integration/test_held_tasks.py",
        "integration/test_hidden_values.py", "integration/test_hostile_input.py", "integration/test_hostile_items.py",
        "integration/test_http_clients.py", "integration/test_idempotency.py", "integration/test_idle_connections.py",
        "integration/test_interleavings.py", "integration/test_late_commits.py", "integration/test_leaks.py",
        "integration/test_limit_uses.py", "integration/test_limits.py", "integration/resources/",
        "integration/test_login_throttle.py",
        "integration/test_maintenance.py", "integration/test_max_priority.py", "integration/test_mcp.py", "integration/test_metrics.py",
        "integration/test_migration_locks.py", "integration/test_migrations.py",
        "integration/test_model.py", "integration/test_monitoring.py", "integration/test_operations.py", "integration/test_outbound.py",
        "integration/test_newer_words.py", "integration/test_newest_tasks.py", "integration/test_outbox.py", "integration/test_outside.py", "integration/test_own_tasks.py",
        "integration/test_doctor.py",
        "integration/pages/",
        "integration/test_patch_pending.py", "integration/test_periods.py", "integration/test_plans.py",
        "integration/test_demand.py", "integration/test_keda.py", "integration/test_queue_shares.py", "integration/test_queues.py", "integration/test_quotas.py",
        "integration/test_random_updates.py", "integration/test_retry_with_changes.py",
        "integration/test_revisions.py", "integration/schedules/",
        "integration/test_rights_at_the_answer.py", "integration/test_round_trips.py",
        "integration/test_route_matrix.py", "integration/test_rules_and_callers.py", "integration/test_run_now.py", "integration/test_running.py",
        "integration/test_running_bodies.py", "integration/test_running_messages.py",
        "integration/test_running_quota.py", "integration/test_running_stops.py", "integration/test_sending.py", "integration/test_stuck_bodies.py",
        "integration/test_server_logs.py", "integration/test_signed_messages.py", "integration/test_sizes.py",
        "integration/test_state_machine.py", "integration/test_statements.py", "integration/test_stats.py",
        "integration/test_task_counts.py", "integration/test_task_lists.py",
        "integration/test_task_logs.py", "integration/test_task_logs_api.py", "integration/test_task_output.py", "integration/test_task_output_api.py",
        "integration/test_task_service.py", "integration/test_task_steps.py", "integration/test_task_sums.py",
        "integration/test_tasks_change.py", "integration/test_tasks_create.py", "integration/test_tasks_hidden.py",
        "integration/test_tasks_list.py", "integration/test_totp.py", "integration/test_transaction_settings.py",
        "integration/test_transport.py", "integration/test_triggers.py", "integration/test_turns.py",
        "integration/test_turns_model.py", "integration/test_turns_shares.py", "integration/test_unique_key_races.py",
        "integration/test_unique_keys.py", "integration/test_unique_keys_at_once.py",
        "integration/test_unique_keys_in_batches.py", "integration/test_users.py", "integration/test_waiting_for.py",
        "integration/webhooks/", "integration/test_weights.py", "integration/workflows/", "integration/test_worker_round_trips.py", "integration/test_workers.py",
        "e2e/test_pages.py", "e2e/test_run_server.py",
        "integration/test_events_end.py::TestTheRightToIt::test_ends_with_the_login",
        "faults/test_batches.py::TestAChild::test_that_was_frozen_begins_nothing_after_its_time",
    ),
    Tier.FULL: (
        "unit/client/test_cli_start.py::TestCPU",
        "integration/webhooks/test_recording.py::TestWhatIsRecorded::test_one_event_a_minute_for_each_schedule",
        "integration/test_outbound.py::TestWebhook::test_is_sent_again_with_the_same_id_and_a_later_time",
        "integration/test_running_stops.py::TestALivingBody::test_one_that_has_ended_its_attempt_goes_on_to_its_end",
        "integration/test_doctor.py::TestAnInstallation::test_that_is_not_migrated",
        "integration/test_doctor.py::TestAnInstallation::test_whose_settings_are_refused",
        "integration/test_doctor.py::TestAnInstallation::test_whose_storage_cannot_be_written",
        "integration/test_doctor.py::TestAnInstallation::test_without_a_worker",
        "unit/tasks/data/test_report.py::TestPage::test_of_many_columns_says_which_it_shows",
        "integration/client/test_client.py::TestSurvives::test_a_server_that_restarts_while_it_watches",
        "integration/client/test_client.py::TestTasks::test_of_a_batch_come_in_their_order",
        "integration/client/test_command_line.py::TestAccess::test_says_where_profiles_are_broken",
        "integration/files/test_tasks.py::TestArtifacts::test_are_handed_on_in_a_workflow",
        "integration/files/test_tasks.py::TestDeath::test_of_the_api_while_a_file_comes_leaves_nothing",
        "integration/test_leaks.py::TestAStoppedStatement::test_of_a_new_task_leaves_no_value_in_a_log",
        "integration/test_login_throttle.py::TestOneAccountFromEverywhere::test_after_a_hundred_failures_in_a_row_only_known_addresses_are_free",
        "integration/test_plans.py::TestRowsRead::test_a_claim_reads_those_that_it_takes[crowd-1--inf]",
        "integration/test_plans.py::TestRowsRead::test_a_claim_reads_those_that_it_takes[crowd that came after the last look of autovacuum-1--inf]",
        "integration/test_running_messages.py::TestMessages::test_without_a_record_it_is_an_ordinary_celery_task",
        "integration/test_stuck_bodies.py::TestACancelledQuery::test_keeps_no_later_table_waiting",
        "integration/test_task_counts.py::TestTimes::test_are_those_of_the_rows[by what is outside]",
        "integration/workflows/test_references.py::TestSecrets::test_of_a_result_are_hidden_by_value",
        "integration/test_limits.py::TestConcurrently",
        "unit/tasks/test_testing.py::TestThePlugin::test_gives_a_team_the_fixture",
        "unit/test_worker_start.py::test_a_module_that_raises_is_left_out_with_one_line_and_check_exits_with_1",
        "unit/test_worker_start.py::test_a_setting_that_is_refused_is_a_line_of_celerys_command",
        "unit/test_worker_start.py::test_what_every_child_does_first_is_done_before_the_fork",
        "unit/test_worker_start.py::test_the_parents_objects_are_frozen_before_its_first_fork",
        "unit/mcp/test_endpoint.py::test_without_the_package_the_start_says_which_extra_brings_it",
        "unit/tasks/data/test_reading.py::TestLines::test_of_ten_thousand_columns_are_read",
        "unit/tasks/test_file_tasks.py::test_none_of_it_is_loaded_with_the_tasks",
        "unit/test_examples.py::test_passes_its_own_tests[invoices]",
        "unit/scripts/test_performance_script.py::TestCommand::test_measures_a_running_server",
        "unit/support/test_sbom.py::test_is_valid_cyclonedx",
        "unit/tasks/test_testing.py::TestThePlugin::test_the_service_imports_no_pytest_and_without_it_the_rest_works",
        "unit/test_house.py::test_modules_are_imported_in_any_order_and_configure_nothing",
        "integration/test_audit_roles.py::TestTheService",
        "integration/test_bulk_steps.py::TestABatch::test_of_a_killed_process_is_lost_nowhere",
        "integration/test_events_hints.py::test_nothing_is_published_without_a_listener",
        "integration/test_first_start.py::TestInDevelopment::test_a_role_that_may_not_create_tables_is_told_and_tries_seldom",
        "integration/test_first_start.py::TestInDevelopment::test_worker_and_beat_at_once_create_it_once_and_run",
        "integration/test_first_start.py::TestInProduction::test_each_part_says_what_to_run_once_and_waits_for_it",
        "integration/test_first_start.py::test_the_look_leaves_no_engine_behind",
        "integration/test_harness.py::TestServices::test_leave_neither_process_nor_file_when_the_session_is_killed",
        "integration/test_hostile_items.py::TestLeftovers::test_what_was_never_acknowledged_and_is_no_message_ends_no_worker_at_its_start",
        "integration/test_idempotency.py::TestAKilledApi",
        "integration/test_limits.py::TestKeys::test_that_are_full_are_passed_over_once",
        "integration/test_metrics.py::test_any_process_answers_alike_and_a_restart_loses_nothing",
        "integration/test_monitoring.py::test_every_query_is_answered",
        "integration/test_operations.py::TestCreateAdmin::test_a_refused_setting_is_one_line_before_anything_starts[create-admin]",
        "integration/test_operations.py::TestCreateAdmin::test_a_refused_setting_is_one_line_before_anything_starts[migrate]",
        "integration/test_own_tasks.py::test_they_are_offered_and_run",
        "integration/test_queue_shares.py::TestShares::test_hold_of_a_thousand_starts_within_5_percent",
        "integration/test_queue_shares.py::test_a_worker_serves_by_its_setting",
        "integration/test_queues.py::TestOnWorkers::test_what_has_waited_starts_within_seconds_and_in_order",
        "integration/test_quotas.py::test_two_real_processes_refuse_together",
        "integration/test_running_messages.py::TestAResultBackend",
        "integration/test_running_messages.py::TestMessages::test_a_worker_with_older_code_leaves_the_task_that_it_lacks",
        "integration/test_running_stops.py::TestAFrozenParent",
        "integration/test_running_stops.py::TestALivingBody::test_a_locked_row_silences_no_heartbeat",
        "integration/test_running_stops.py::TestALivingBody::test_one_that_applies_another_task_is_still_running",
        "integration/test_running_stops.py::TestAWorkerThatLeaves",
        "integration/test_running_stops.py::TestTheDefaultTimeLimit",
        "integration/test_task_logs.py::test_a_body_logs_on_while_the_database_is_down",
        "integration/test_waiting_for.py::TestOnWorkers::test_a_worker_tells_which_tasks_it_knows",
        "integration/test_workers.py::TestOnWorkers",
        "e2e/test_pages.py::test_a_task_that_is_deleted_under_its_open_page_is_gone",
        "e2e/test_pages.py::test_a_worker_is_drained_and_leaves_the_list",
        "e2e/test_pages.py::test_an_open_page_goes_on_when_the_server_was_restarted",
        "e2e/test_pages.py::test_an_overview_says_when_it_is_stale",
        "e2e/test_pages.py::test_rows_change_in_place_and_new_ones_wait_behind_a_note[an administrator]",
        "e2e/test_pages.py::test_the_reason_of_a_wait_changes_under_an_open_page",
        "e2e/test_pages.py::test_two_tabs_show_the_same_and_end_together",
        "integration/client/test_client.py::TestSurvives::test_an_access_token_that_expires",
        "integration/client/test_command_line.py::TestAccess::test_needs_a_server",
        "integration/client/test_command_line.py::TestReading::test_looks_at_everything",
        "integration/client/test_command_line.py::TestWatch::test_takes_ids_of_a_search_and_of_stdin",
        "integration/test_doctor.py::TestAnInstallation::test_whose_role_may_not_write_a_table",
        "integration/test_doctor.py::TestAnInstallation::test_whose_worker_is_lost",
        "integration/test_doctor.py::TestAnInstallation::test_without_a_broker",
        "integration/test_doctor.py::TestAnInstallation::test_without_a_database",
        "integration/test_doctor.py::TestTheReport", "integration/test_part_commands.py",
        "integration/client/test_command_line.py::TestDeeds", "integration/client/test_command_line.py::TestTheTerminal",
        "integration/test_hostile_input.py::TestTargets", "integration/schedules/test_model.py",
        "integration/test_migration_locks.py::test_one_that_gives_up_keeps_the_revisions_before_and_is_repeated",
        "integration/test_turns_shares.py::TestShares",
        "integration/test_unique_keys_at_once.py::TestManyAtOnce::test_batches_of_the_same_keys_in_any_order",
        "integration/test_audit_roles.py::TestPruning", "integration/test_audit_roles.py::TestTheCommand",
        "integration/test_migrations.py::TestFromNothing::test_a_question_makes_no_schema",
        "integration/test_migrations.py::TestFromNothing::test_a_second_time_there_is_nothing_to_do",
        "integration/test_migrations.py::TestFromNothing::test_there_is_no_way_to_a_schema_before",
        "integration/test_harness.py::TestAProcessThatDies::test_in_a_test_that_hangs_tells_its_stacks",
        "integration/test_harness.py::TestAProcessThatDies::test_outside_of_a_test_is_told",
        "integration/test_migration_errors.py", "integration/pages/test_forms.py::test_no_value_breaks_a_page",
        "e2e/test_schedule_form.py", "e2e/test_task_form.py",
        "e2e/test_run_server.py::test_without_its_broker_it_says_what_it_waits_for_and_is_ready_once_that_is_there",
        "integration/test_broker_security.py", "integration/test_celery_commands.py",
        "integration/test_documents_run.py", "integration/test_echo.py", "integration/test_events_end.py",
        "integration/test_from_celery.py", "integration/test_full_disk.py",
        "integration/test_generated_clients.py", "integration/test_hostile_broker.py",
        "integration/test_http_server.py",
        "integration/test_login_throttle.py::TestDeployments", "integration/test_loop_time.py",
        "integration/test_openapi_conformance.py", "integration/test_periodic_recipe.py",
        "integration/test_pythons.py", "integration/test_records_in_celery.py",
        "integration/test_running_messages.py::TestPriorities",
        "integration/test_scripts.py", "integration/test_sealed_image.py", "integration/test_security_script.py",
        "integration/webhooks/test_receivers.py", "integration/test_wheel.py",
        "integration/test_without_models.py",
        "e2e/test_busy_page.py", "e2e/test_complaints.py", "e2e/test_compose.py",
        "e2e/test_run_server.py::TestOnSQLite::test_several_processes_of_each_part_share_the_file_and_the_next_start_has_it",
        "e2e/test_run_server.py::test_a_shell_that_has_sourced_the_environment_of_an_earlier_start_can_start_again",
        "e2e/test_run_server.py::test_verbose_shows_all",
        "faults/test_api_deaths.py", "faults/test_batches.py", "faults/test_broker.py", "faults/test_cancel_races.py",
        "faults/test_children_and_messages.py", "faults/test_consumption.py", "faults/test_database.py",
        "faults/test_database_file.py", "faults/test_fence.py", "faults/test_idle_connections.py",
        "faults/test_limits.py", "faults/test_live_events.py", "faults/test_odd_bodies.py", "faults/test_pauses.py",
        "faults/test_pools_without_forks.py", "faults/test_running_quota.py", "faults/test_schedules.py", "faults/test_soak.py",
        "faults/test_dependencies.py", "faults/test_steps.py", "faults/test_workflows.py",
        "faults/test_time_and_leadership.py", "faults/test_upgrade.py", "faults/test_webhooks.py", "faults/test_workers.py",
        "load/test_answers.py", "load/test_connections.py", "load/test_event_loop.py", "load/test_logins.py",
        "load/test_logs.py", "load/test_storage.py", "load/test_streams.py", "load/test_threads.py",
    ),
}  # fmt: skip

# What `app/db` promises, on every engine: SQLite, MariaDB and MySQL have these where a change may concern them.
STATEMENTS: tuple[str, ...] = (
    "integration/test_account_statements.py", "integration/test_audit_pruning.py",
    "integration/test_bulk_steps.py",
    "integration/test_claims.py", "integration/test_claims_at_once.py", "integration/test_completions.py",
    "integration/test_deadlocks.py", "integration/test_demand.py", "integration/test_error_groups.py",
    "integration/test_error_groups_list.py", "integration/test_held_tasks.py",
    "integration/test_late_commits.py", "integration/test_limit_uses.py", "integration/test_limits.py", "integration/test_maintenance.py",
    "integration/test_migration_locks.py", "integration/test_migrations.py",
    "integration/test_newer_words.py", "integration/test_newest_tasks.py", "integration/test_outbox.py", "integration/test_periods.py", "integration/test_queues.py",
    "integration/test_random_updates.py", "integration/test_revisions.py",
    "integration/schedules/", "integration/test_running_quota.py", "integration/test_state_machine.py",
    "integration/test_statements.py", "integration/test_stats.py", "integration/test_task_counts.py", "integration/test_task_service.py", "integration/test_task_steps.py", "integration/test_task_sums.py",
    "integration/test_triggers.py", "integration/test_turns.py", "integration/test_turns_shares.py",
    "integration/webhooks/", "integration/workflows/",
)  # fmt: skip

# Of these, what SQLite has in each other run: the statements themselves, without the services around them.
CORE: tuple[str, ...] = (
    "integration/test_account_statements.py", "integration/test_audit_pruning.py", "integration/test_bulk_steps.py",
    "integration/test_claims.py", "integration/test_claims_at_once.py", "integration/test_completions.py",
    "integration/test_deadlocks.py", "integration/test_held_tasks.py", "integration/test_late_commits.py",
    "integration/test_limit_uses.py", "integration/test_maintenance.py", "integration/test_outbox.py",
    "integration/test_periods.py", "integration/test_queues.py", "integration/test_state_machine.py",
    "integration/test_statements.py", "integration/test_task_counts.py", "integration/test_task_service.py",
    "integration/test_task_steps.py", "integration/test_triggers.py", "integration/test_turns.py",
)  # fmt: skip

# What concerns the schema alone: PostgreSQL has it, too, where a change may concern it.
SCHEMA: tuple[str, ...] = (
    "integration/test_migration_locks.py", "integration/test_migrations.py", "integration/test_revisions.py",
)  # fmt: skip

# Of the statements, what takes long or asks through HTTP, and is seen on PostgreSQL in each run: on the other engines it is of the
# full tier.
ON_POSTGRESQL: tuple[str, ...] = (
    "integration/test_migration_locks.py", "integration/test_migrations.py::TestFromTheBaseline", "integration/test_migrations.py::TestOutbox",
    "integration/test_outbox.py::test_a_process_that_is_killed_between_any_two_steps_loses_nothing_and_keeps_the_order",
    "integration/test_task_counts.py::TestTimes", "integration/test_turns_shares.py",
    "integration/test_maintenance.py::TestPlace::test_every_one_does_within_one_pass_however_many_there_are",
    "integration/schedules/test_model.py",
    "integration/test_queues.py::TestPausing",
    "integration/test_queues.py::TestTheList",
    "integration/test_stats.py::TestTheAnswer", "integration/test_stats.py::TestSubmitted",
    "integration/test_revisions.py::TestBelowALiveService", "integration/test_running_quota.py::TestConcurrently",
    "integration/test_task_counts.py::TestAtOnce",
    "integration/workflows/test_model.py", "integration/workflows/test_references.py", "integration/workflows/test_workflows.py::TestCanvas",
    "integration/workflows/test_workflows.py::TestPatch", "integration/workflows/test_workflows.py::TestRequest",
)  # fmt: skip

# Of `tests/integration`, files and tests that have nothing to do with the engine, are of PostgreSQL alone, or tell of processes and of
# HTTP what is the same on each engine by construction: they send the statements of `app/db`, which STATEMENTS holds to one contract on all four,
# and each route sends its own on each engine in `test_route_matrix.py`.
NOT_OF_ENGINES: tuple[str, ...] = (
    "integration/client/", "integration/pages/", "integration/files/test_tasks.py", "integration/webhooks/test_receivers.py",
    "integration/test_answer_sizes.py", "integration/test_beat_import.py", "integration/test_broker_security.py",
    "integration/test_celery_commands.py", "integration/test_documents_run.py", "integration/test_echo.py",
    "integration/test_embedded_services.py", "integration/test_events.py", "integration/test_events_end.py",
    "integration/test_events_hints.py", "integration/test_every_process.py", "integration/test_express_slot.py",
    "integration/test_forking.py", "integration/test_from_celery.py", "integration/test_full_disk.py",
    "integration/test_generated_clients.py", "integration/test_harness.py",
    "integration/test_hidden_values.py", "integration/test_hostile_broker.py", "integration/test_hostile_items.py",
    "integration/test_http_clients.py", "integration/test_http_server.py", "integration/test_interleavings.py", "integration/test_keda.py",
    "integration/test_leaks.py", "integration/test_loop_time.py", "integration/test_mcp.py",
    "integration/test_migration_errors.py", "integration/test_monitoring.py", "integration/test_openapi_conformance.py",
    "integration/test_outbound.py", "integration/test_outside.py", "integration/test_own_tasks.py",
    "integration/test_part_commands.py", "integration/test_periodic_recipe.py", "integration/test_plans.py",
    "integration/test_pythons.py", "integration/test_records_in_celery.py", "integration/test_rules_and_callers.py",
    "integration/test_running_bodies.py", "integration/test_running_messages.py", "integration/test_running_stops.py",
    "integration/test_scripts.py", "integration/test_sealed_image.py", "integration/test_sending.py",
    "integration/test_server_logs.py", "integration/test_signed_messages.py", "integration/test_stuck_bodies.py",
    "integration/test_transport.py", "integration/test_wheel.py", "integration/test_without_models.py",
    "integration/test_concurrent_reads.py", "integration/test_login_throttle.py", "integration/test_queue_shares.py::test_a_worker_serves_by_its_setting",
    "integration/test_queues.py::TestOnWorkers", "integration/test_quotas.py::test_two_real_processes_refuse_together", "integration/test_running.py",
    "integration/test_operations.py::TestCreateAdmin::test_a_refused_setting_is_one_line_before_anything_starts",
    "integration/test_task_logs.py", "integration/test_waiting_for.py::TestOnWorkers", "integration/test_workers.py::TestOnWorkers",
    "integration/workflows/test_canvases.py", "integration/workflows/test_references.py::TestSecrets", "integration/workflows/test_running.py",
    "integration/test_doctor.py::TestAnInstallation::test_without_a_worker", "integration/test_doctor.py::TestAnInstallation::test_whose_worker_is_lost",
    "integration/test_doctor.py::TestAnInstallation::test_without_a_broker", "integration/test_doctor.py::TestAnInstallation::test_that_is_not_migrated",
    "integration/test_doctor.py::TestAnInstallation::test_whose_storage_cannot_be_written", "integration/test_doctor.py::TestAnInstallation::test_whose_settings_are_refused",
    "integration/test_doctor.py::TestTheReport", "integration/test_security_script.py",
)  # fmt: skip

# Of the faults, what each engine has besides those that are marked `every_engine`: what its server does, and random ones.
FAULTS_OF_ENGINES: tuple[str, ...] = (
    "faults/test_cancel_races.py", "faults/test_database.py", "faults/test_database_file.py", "faults/test_soak.py",
)  # fmt: skip

# The full tier.
PARTS: dict[str, tuple[str, ...]] = {
    "postgresql": ("unit", "integration"),
    "length": ("unit", "integration"),
    "mariadb": ("mariadb",),
    "mysql": ("mysql",),
    "sqlite": ("sqlite",),
    "faults": ("faults",),
    "outside": ("e2e", "load", "security", "performance"),
}
# These two share their suites: one has the tests that are marked `full`, which go on for minutes each, the other all else.
MARKED = {"postgresql": "not full", "length": "full"}

# Further parts, which run only when they are named: hours. Each goes on where it was stopped.
FURTHER: tuple[str, ...] = ("mutants", "figures")

_ENTRIES = {entry: tier for tier, entries in TIERS.items() for entry in entries}


def entry_of(nodeid: str) -> str | None:
    """The entry that decides on a file or test, which is named from `tests/` on."""
    fitting = [entry for entry in _ENTRIES if _fits(entry, nodeid)]
    return max(fitting, key=len, default=None)


def _fits(entry: str, nodeid: str) -> bool:
    rest = nodeid.removeprefix(entry)
    return nodeid.startswith(entry) and (entry.endswith("/") or rest[:1] in {"", ":", "["})


def tier_of(nodeid: str, *, engine: str = "postgresql", every_engine: bool = False) -> Tier:
    """`every_engine`: it is one of the faults that every engine stands; on PostgreSQL each run has them."""
    if engine != "postgresql" and any(_fits(entry, nodeid) for entry in ON_POSTGRESQL):
        return Tier.FULL
    entry = entry_of(nodeid)
    tier = _ENTRIES[entry] if entry else Tier.DEFAULT
    return Tier.DEFAULT if every_engine and tier is Tier.FULL else tier


def may_have_tests_of(tier: Tier, file: str) -> bool:
    """Whether a run of the tier has to read the file."""
    entry = entry_of(file)
    within = [_ENTRIES[each] for each in _ENTRIES if each.startswith(f"{file}::")]
    own = _ENTRIES[entry] if entry else Tier.DEFAULT
    return file.startswith("faults/") or any(each.is_in(tier) for each in (own, *within))


def runs_on(engine: str, tier: Tier, file: str, *, core: bool = False) -> bool:
    """Whether a run of the tier has the file on this engine; `core`: one whose change concerns none but it."""
    if engine == "postgresql":
        return not (core and any(_fits(entry, file) for entry in SCHEMA))
    if not file.startswith(("integration/", "faults/")):
        return False
    if any(_fits(entry, file) for entry in NOT_OF_ENGINES):
        return False
    return tier is Tier.FULL or any(_fits(entry, file) for entry in (CORE if core else STATEMENTS))


def is_of_engine(engine: str, nodeid: str, *, every_engine: bool) -> bool:
    """Whether the engine has this test of a file that it runs: what NOT_OF_ENGINES does not name, and of the faults those that depend on it."""
    if engine != "postgresql" and any(_fits(entry, nodeid) for entry in NOT_OF_ENGINES):
        return False
    is_fault = engine != "postgresql" and nodeid.startswith("faults/")
    return every_engine or not is_fault or any(_fits(entry, nodeid) for entry in FAULTS_OF_ENGINES)


def is_timed(file: str) -> bool:
    """Whether its tests measure how long processes take to start, freeze and die. A soak mostly waits."""
    return file.startswith("tests/faults/") and file != "tests/faults/test_soak.py"
