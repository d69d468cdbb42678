/* The requests by which tests play the network and look at what happened. */
#include "standin.h"

#pragma pack(push, 1)
/* One packet or event to be fed, or one that was sent; the data follows. */
typedef struct record {
    u64 handle;
    u32 size;
    u32 repeat;
    u8 address[ADDRESS_SIZE];
} record;

/* One handle, for TEST_LIST. */
typedef struct listing {
    u64 number, process_id, flags, sent, received;
    u32 layer, priority, queued, pending, startup_size, initialize_size;
} listing;

/* The argument of requests about one handle. */
typedef struct target {
    u64 handle;
    u32 value;
} target;
#pragma pack(pop)

int is_test_request(u32 code) {
    const u32 number = code >> 2 & 0xFFF;
    return number >= 0x9F0 && number <= 0x9F8;
}

static handle *find(u64 number) {
    LIST_ENTRY *entry;
    for (entry = the_world.handles.Flink; entry != &the_world.handles; entry = entry->Flink) {
        handle *handle = CONTAINING_RECORD(entry, struct handle, entry);
        if (handle->number == number) {
            return handle;
        }
    }
    return NULL;
}

/* Queues packets on handles as if they had matched; a stamp of 0 stands for now. */
static NTSTATUS feed(const u8 *in, u32 in_size) {
    u32 offset = 0;
    while (offset + sizeof(record) <= in_size) {
        const record *one = (const record *)(in + offset);
        handle *to = find(one->handle);
        u32 index;
        offset += sizeof *one;
        if (!to || one->size > in_size - offset) {
            return STATUS_INVALID_PARAMETER;
        }
        for (index = 0; index < one->repeat && !to->has_ended_receiving; index++) {
            packet *made = new_packet(in + offset, one->size, one->address);
            if (*(u64 *)made->address == 0) {
                QueryPerformanceCounter((LARGE_INTEGER *)made->address);
            }
            enqueue(to, made);
        }
        offset += one->size;
    }
    return STATUS_SUCCESS;
}

static ULONG_PTR list(u8 *out, u32 out_size) {
    ULONG_PTR size = 0;
    LIST_ENTRY *entry;
    for (entry = the_world.handles.Flink; entry != &the_world.handles; entry = entry->Flink) {
        const handle *handle = CONTAINING_RECORD(entry, struct handle, entry);
        const listing one = {
            handle->number, handle->process_id, handle->flags, handle->sent_count, handle->received_count,
            handle->layer, handle->priority, handle->queued, handle->pending, handle->startup.size,
            handle->initialize.size,
        };
        if (size + sizeof one > out_size) {
            break;
        }
        memcpy(out + size, &one, sizeof one);
        size += sizeof one;
    }
    return size;
}

/* Hands out packets of a log, as many as fit, and forgets them. */
static ULONG_PTR take(LIST_ENTRY *log, u64 number, u8 *out, u32 out_size) {
    ULONG_PTR size = 0;
    while (!IsListEmpty(log)) {
        packet *first = CONTAINING_RECORD(log->Flink, packet, entry);
        record *one = (record *)(out + size);
        if (size + sizeof *one + first->size > out_size) {
            break;
        }
        one->handle = number;
        one->size = first->size;
        one->repeat = 1;
        memcpy(one->address, first->address, ADDRESS_SIZE);
        memcpy(one + 1, first->data, first->size);
        size += sizeof *one + first->size;
        RemoveEntryList(&first->entry);
        ExFreePool(first);
    }
    return size;
}

static ULONG_PTR copy_blob(const blob *blob, u8 *out, u32 out_size) {
    const u32 size = blob->size < out_size ? blob->size : out_size;
    memcpy(out, blob->data, size);
    return size;
}

static NTSTATUS plan_failure(const failure *planned) {
    u32 index;
    for (index = 0; index < FAILURES_MAX; index++) {
        if (the_world.failures[index].count == 0) {
            the_world.failures[index] = *planned;
            return STATUS_SUCCESS;
        }
    }
    return STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS planned_failure(u32 code) {
    u32 index;
    for (index = 0; index < FAILURES_MAX; index++) {
        failure *planned = &the_world.failures[index];
        if (planned->count > 0 && planned->request == (code >> 2 & 0xFFF)) {
            planned->count--;
            return planned->status;
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS on_handle(u32 code, const target *target, u8 *out, u32 out_size, ULONG_PTR *size) {
    const u32 value = target->value;
    handle *handle;
    if (code == TEST_OPTIONS && target->handle == 0) {
        the_world.default_options = value;
        return STATUS_SUCCESS;
    }
    handle = find(target->handle);
    if (!handle) {
        return STATUS_INVALID_PARAMETER;
    }
    switch (code) {
    case TEST_STARTUP:
        *size = copy_blob(value ? &handle->initialize : &handle->startup, out, out_size);
        break;
    case TEST_SENT:
        *size = take(&handle->sent, handle->number, out, out_size);
        break;
    case TEST_CANCELS:
        release_held(handle, (int)value);
        break;
    default:
        handle->options = value;
    }
    return STATUS_SUCCESS;
}

NTSTATUS control(u32 code, IRP *irp, u32 in_size, u32 out_size, ULONG_PTR *size) {
    u8 *buffer = irp->AssociatedIrp.SystemBuffer;
    switch (code) {
    case TEST_FEED:
        return feed(buffer, in_size);
    case TEST_LIST:
        *size = list(buffer, out_size);
        return STATUS_SUCCESS;
    case TEST_RETURNED:
        *size = take(&the_world.returned, 0, buffer, out_size);
        return STATUS_SUCCESS;
    case TEST_FAIL:
        return in_size < sizeof(failure) ? STATUS_INVALID_PARAMETER : plan_failure((const failure *)buffer);
    case TEST_RESET:
        free_packets(&the_world.returned);
        memset(the_world.failures, 0, sizeof the_world.failures);
        the_world.default_options = 0;
        return STATUS_SUCCESS;
    default:
        return in_size < sizeof(target) ? STATUS_INVALID_PARAMETER
                                        : on_handle(code, (const target *)buffer, buffer, out_size, size);
    }
}
