//! Configs of topics: what is in force, and setting some of them.

use rdkafka::ClientContext;
use rdkafka::bindings as rd;
use rdkafka::client::Client;

use super::super::KafkaError;
use super::super::admin::ConfigValue;
use super::{Question, Resource, ask, text_of};

/// Returns a topic's configs.
pub(in super::super) fn describe_configs<C: ClientContext>(
    client: &Client<C>,
    question: &Question<'_>,
    serve: &dyn Fn(),
) -> Result<Vec<ConfigValue>, KafkaError> {
    let resource = topic_resource(question)?;
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
    // SAFETY: all pointers are alive during the call, which copies what it keeps.
    let event = ask(client, question, operation, serve, |native, options, queue| unsafe {
        rd::rd_kafka_DescribeConfigs(native, [resource.0].as_mut_ptr(), 1, options, queue);
    })?;
    let mut values = Vec::new();
    // SAFETY: everything read here belongs to the event, which outlives it.
    unsafe {
        let mut count = 0;
        let resources = rd::rd_kafka_DescribeConfigs_result_resources(rd::rd_kafka_event_DescribeConfigs_result(event.0), &raw mut count);
        resource_results(question, resources, count)?;
        let mut entries = 0;
        let configs = rd::rd_kafka_ConfigResource_configs(*resources, &raw mut entries);
        for index in 0..entries {
            let entry = *configs.add(index);
            values.push(ConfigValue {
                name: text_of(rd::rd_kafka_ConfigEntry_name(entry)),
                value: text_of(rd::rd_kafka_ConfigEntry_value(entry)),
            });
        }
    }
    Ok(values)
}

/// Sets some of a topic's configs and leaves the others as they are.
pub(in super::super) fn set_configs<C: ClientContext>(
    client: &Client<C>,
    question: &Question<'_>,
    configs: &[(&str, &str)],
    serve: &dyn Fn(),
) -> Result<(), KafkaError> {
    let resource = topic_resource(question)?;
    for (name, value) in configs {
        let (name, value) = (question.text(name)?, question.text(value)?);
        let set = rd::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
        // SAFETY: both texts are copied; an error is freed after its text was copied.
        unsafe {
            let error = rd::rd_kafka_ConfigResource_add_incremental_config(resource.0, name.as_ptr(), set, value.as_ptr());
            if !error.is_null() {
                let (code, message) = (rd::rd_kafka_error_code(error), text_of(rd::rd_kafka_error_string(error)));
                rd::rd_kafka_error_destroy(error);
                return Err(question.refused(code.into(), message));
            }
        }
    }
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
    // SAFETY: all pointers are alive during the call, which copies what it keeps.
    let event = ask(client, question, operation, serve, |native, options, queue| unsafe {
        rd::rd_kafka_IncrementalAlterConfigs(native, [resource.0].as_mut_ptr(), 1, options, queue);
    })?;
    // SAFETY: the results belong to the event.
    unsafe {
        let result = rd::rd_kafka_event_IncrementalAlterConfigs_result(event.0);
        let mut count = 0;
        let resources = rd::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
        resource_results(question, resources, count)
    }
}

fn topic_resource(question: &Question<'_>) -> Result<Resource, KafkaError> {
    let name = question.text(question.target)?;
    // SAFETY: the name is copied; null says that the arguments are wrong.
    let resource = unsafe { rd::rd_kafka_ConfigResource_new(rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, name.as_ptr()) };
    if resource.is_null() { Err(question.unprepared("a resource was refused")) } else { Ok(Resource(resource)) }
}

/// # Safety
/// The results' event must be alive.
unsafe fn resource_results(
    question: &Question<'_>,
    results: *mut *const rd::rd_kafka_ConfigResource_t,
    count: usize,
) -> Result<(), KafkaError> {
    if count == 0 || results.is_null() {
        return Err(question.unprepared("an empty answer"));
    }
    // SAFETY: there is at least one result, alive by the caller's promise.
    unsafe { question.checked(rd::rd_kafka_ConfigResource_error(*results), rd::rd_kafka_ConfigResource_error_string(*results)) }
}
