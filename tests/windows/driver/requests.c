/* The requests of WinDivert's library, checked in the order in which the driver checks them. */
#include "standin.h"

#define MAGIC_LIBRARY 0x4C4C447669645724ull
#define MAGIC_DRIVER 0x5359537669645723ull

#define FLAG_SNIFF 1
#define FLAG_DROP 2
#define FLAG_RECV_ONLY 4
#define FLAG_SEND_ONLY 8
#define FLAGS_ALL 0x3F
#define LAYER_FLOW 2
#define LAYER_SOCKET 3
#define LAYER_REFLECT 4
#define TESTS_MAX 255
#define TEST_SIZE 24

#pragma pack(push, 1)
typedef struct version {
    u64 magic;
    u32 major, minor, bits, reserved[3];
    u64 more[4];
} version;
#pragma pack(pop)

static const u64 BOUNDS[3][2] = {{32, 16384}, {100, 16000}, {65535, 33554432}};

static NTSTATUS verify_open(u32 layer, u32 priority, u64 flags) {
    const int excludes = (flags & FLAG_SNIFF && flags & FLAG_DROP) || (flags & FLAG_RECV_ONLY && flags & FLAG_SEND_ONLY);
    if (layer > LAYER_REFLECT || flags & ~(u64)FLAGS_ALL || excludes || priority > 60000) {
        return STATUS_INVALID_PARAMETER;
    }
    if ((layer == LAYER_FLOW || layer == LAYER_REFLECT) && !(flags & FLAG_SNIFF)) {
        return STATUS_INVALID_PARAMETER;
    }
    return layer >= LAYER_FLOW && !(flags & FLAG_RECV_ONLY) ? STATUS_INVALID_PARAMETER : STATUS_SUCCESS;
}

static NTSTATUS initialize(handle *handle, const u64 *arguments, u8 *out, u32 out_size, ULONG_PTR *size) {
    version *versions = (version *)out;
    NTSTATUS status;
    if (out_size != sizeof *versions || versions->magic != MAGIC_LIBRARY || versions->major < 2) {
        return STATUS_INVALID_PARAMETER;
    }
    handle->layer = ((const u32 *)arguments)[0];
    handle->priority = ((const u32 *)arguments)[1];
    handle->flags = arguments[1];
    status = verify_open(handle->layer, handle->priority, handle->flags);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    keep(&handle->initialize, (const u8 *)arguments, 16, out, out_size);
    versions->magic = MAGIC_DRIVER;
    versions->major = 2;
    versions->minor = 2;
    versions->bits = 64;
    handle->state = STATE_INITIALIZED;
    *size = sizeof *versions;
    return STATUS_SUCCESS;
}

static NTSTATUS startup(handle *handle, const u64 *arguments, const u8 *program, u32 program_size) {
    if (handle->state != STATE_INITIALIZED) {
        return STATUS_INVALID_DEVICE_STATE;
    }
    keep(&handle->startup, (const u8 *)arguments, 16, program, program_size);
    handle->state = STATE_OPEN;
    handle->number = ++the_world.opened;
    handle->options = the_world.default_options;
    InsertTailList(&the_world.handles, &handle->entry);
    return STATUS_SUCCESS;
}

static NTSTATUS receive(handle *handle, IRP *irp) {
    const u64 *arguments = irp->AssociatedIrp.SystemBuffer;
    if (arguments[1]) {
        u32 addresses_size;
        SIZE_T done;
        if (!ReadProcessMemory(handle->process, (void *)arguments[1], &addresses_size, sizeof addresses_size, &done)) {
            return STATUS_ACCESS_VIOLATION;
        }
        if (addresses_size < ADDRESS_SIZE || addresses_size > BATCH_MAX * ADDRESS_SIZE || !arguments[0]) {
            return STATUS_INVALID_PARAMETER;
        }
    }
    if (handle->state != STATE_OPEN) {
        return STATUS_INVALID_DEVICE_STATE;
    }
    return handle->flags & FLAG_SEND_ONLY ? STATUS_INVALID_PARAMETER : add_read(handle, irp);
}

static NTSTATUS send_packets(handle *handle, const u8 *data, u32 size, const u8 *addresses, u32 count, ULONG_PTR *sent) {
    u32 offset = 0, index;
    for (index = 0; index < count; index++) {
        const u8 *at = data + offset;
        const u32 left = size - offset;
        u32 len;
        packet *copy;
        if (left < 20) {
            return STATUS_BUFFER_TOO_SMALL;
        }
        if (at[0] >> 4 != 4 && at[0] >> 4 != 6) {
            return STATUS_INVALID_PARAMETER;
        }
        len = packet_size(at, left);
        if (len == 0) {
            return at[0] >> 4 == 4 && (at[2] << 8 | at[3]) < 20 ? STATUS_INVALID_PARAMETER : STATUS_BUFFER_TOO_SMALL;
        }
        handle->sent_count++;
        if (!(handle->options & OPTION_NO_LOG)) {
            copy = new_packet(at, len, addresses + index * ADDRESS_SIZE);
            InsertTailList(&handle->sent, &copy->entry);
        }
        if (handle->options & OPTION_ECHO && !handle->has_ended_receiving) {
            copy = new_packet(at, len, addresses + index * ADDRESS_SIZE);
            QueryPerformanceCounter((LARGE_INTEGER *)copy->address);
            enqueue(handle, copy);
        }
        offset += len;
        *sent = offset;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS send(handle *handle, const u64 *arguments, const u8 *data, u32 size, ULONG_PTR *sent) {
    static u8 addresses[BATCH_MAX * ADDRESS_SIZE];
    const u64 address_at = arguments[0], addresses_size = arguments[1];
    SIZE_T done;
    if (addresses_size < ADDRESS_SIZE || addresses_size > sizeof addresses || !address_at) {
        return STATUS_INVALID_PARAMETER;
    }
    if (!ReadProcessMemory(handle->process, (void *)address_at, addresses, addresses_size, &done)) {
        return STATUS_ACCESS_VIOLATION;
    }
    if (handle->state != STATE_OPEN) {
        return STATUS_INVALID_DEVICE_STATE;
    }
    if (handle->has_ended_sending) {
        return STATUS_PIPE_EMPTY;
    }
    if (handle->flags & FLAG_RECV_ONLY || handle->layer >= LAYER_FLOW) {
        return STATUS_INVALID_PARAMETER;
    }
    if (!data || size == 0) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    return send_packets(handle, data, size, addresses, (u32)addresses_size / ADDRESS_SIZE, sent);
}

static NTSTATUS shut_down(handle *handle, u32 how) {
    if (how < 1 || how > 3) {
        return STATUS_INVALID_PARAMETER;
    }
    handle->has_ended_receiving |= how & 1;
    handle->has_ended_sending |= how & 2;
    serve(handle);
    return STATUS_SUCCESS;
}

static NTSTATUS set_param(handle *handle, u64 value, u32 param) {
    if (param > 2 || value < BOUNDS[param][0] || value > BOUNDS[param][1]) {
        return STATUS_INVALID_PARAMETER;
    }
    handle->params[param] = value;
    return STATUS_SUCCESS;
}

static NTSTATUS get_param(const handle *handle, u32 param, u8 *out, u32 out_size, ULONG_PTR *size) {
    u64 value = 2;
    if (out_size != sizeof value || param > 4) {
        return STATUS_INVALID_PARAMETER;
    }
    if (param < 3) {
        value = handle->params[param];
    }
    memcpy(out, &value, sizeof value);
    *size = sizeof value;
    return STATUS_SUCCESS;
}

NTSTATUS answer(handle *handle, u32 code, IRP *irp, ULONG_PTR *size) {
    const u64 *arguments = irp->AssociatedIrp.SystemBuffer;
    const u32 *words = irp->AssociatedIrp.SystemBuffer;
    u32 direct_size;
    u8 *direct = direct_buffer(irp, &direct_size);
    if (handle->state == STATE_CLOSING) {
        return STATUS_INVALID_DEVICE_STATE;
    }
    switch (code) {
    case REQUEST_INITIALIZE:
        return initialize(handle, arguments, direct, direct_size, size);
    case REQUEST_STARTUP:
        return startup(handle, arguments, direct, direct_size);
    case REQUEST_RECEIVE:
        return receive(handle, irp);
    case REQUEST_SEND:
        return send(handle, arguments, direct, direct_size, size);
    case REQUEST_SHUTDOWN:
        return shut_down(handle, words[0]);
    case REQUEST_SET_PARAM:
        return set_param(handle, arguments[0], words[2]);
    case REQUEST_GET_PARAM:
        return get_param(handle, words[0], direct, direct_size, size);
    default:
        return STATUS_INVALID_DEVICE_REQUEST;
    }
}
