/* Packets that wait for reads, and reads that wait for packets. */
#include "standin.h"

/* The packet's size by its IP header, 0 if the bytes are none or too few. */
u32 packet_size(const u8 *data, u32 size) {
    u32 claimed = 0;
    if (size >= 20 && data[0] >> 4 == 4) {
        claimed = data[2] << 8 | data[3];
        return claimed >= 20 && claimed <= size ? claimed : 0;
    }
    if (size >= 40 && data[0] >> 4 == 6) {
        claimed = 40 + (data[4] << 8 | data[5]);
        return claimed <= size ? claimed : 0;
    }
    return 0;
}

packet *new_packet(const u8 *data, u32 size, const u8 *address) {
    packet *made = ExAllocatePool(NonPagedPool, sizeof(packet) + size);
    made->size = size;
    memcpy(made->address, address, ADDRESS_SIZE);
    memcpy(made->data, data, size);
    return made;
}

void free_packets(LIST_ENTRY *list) {
    while (!IsListEmpty(list)) {
        ExFreePool(CONTAINING_RECORD(RemoveHeadList(list), packet, entry));
    }
}

void keep(blob *blob, const u8 *first, u32 first_size, const u8 *second, u32 second_size) {
    if (blob->data) {
        ExFreePool(blob->data);
    }
    blob->size = first_size + second_size;
    blob->data = ExAllocatePool(NonPagedPool, blob->size + 1);
    memcpy(blob->data, first, first_size);
    memcpy(blob->data + first_size, second, second_size);
}

/* The caller's buffer of a request with direct input or output. */
u8 *direct_buffer(IRP *irp, u32 *size) {
    if (!irp->MdlAddress) {
        *size = 0;
        return NULL;
    }
    *size = MmGetMdlByteCount(irp->MdlAddress);
    return (u8 *)irp->MdlAddress->StartVa + irp->MdlAddress->ByteOffset;
}

void complete(IRP *irp, NTSTATUS status, ULONG_PTR size) {
    IoSetCancelRoutine(irp, NULL);
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = size;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
}

static handle *handle_of(IRP *irp) {
    return IoGetCurrentIrpStackLocation(irp)->FileObject->FsContext;
}

static void NTAPI on_cancel(DEVICE_OBJECT *device, IRP *irp) {
    handle *handle = handle_of(irp);
    (void)device;
    IoReleaseCancelSpinLock(irp->CancelIrql);
    RemoveEntryList(&irp->Tail.Overlay.ListEntry);
    if (handle->options & OPTION_HOLD_CANCELS) {
        InsertTailList(&handle->held, &irp->Tail.Overlay.ListEntry);
        return;
    }
    handle->pending--;
    complete(irp, STATUS_CANCELLED, 0);
}

/* Fills one read: the first packet is cut to the buffer, further ones only follow whole. */
static void fill(handle *handle, IRP *irp) {
    static u8 addresses[BATCH_MAX * ADDRESS_SIZE];
    const u64 *arguments = irp->AssociatedIrp.SystemBuffer;
    const u64 address_at = arguments[0], address_size_at = arguments[1];
    u32 room, addresses_size = ADDRESS_SIZE, filled = 0, count = 0;
    u8 *to = direct_buffer(irp, &room);
    NTSTATUS status = STATUS_SUCCESS;
    SIZE_T done;
    if (address_size_at) {
        ReadProcessMemory(handle->process, (void *)address_size_at, &addresses_size, sizeof addresses_size, &done);
    }
    while (!IsListEmpty(&handle->queue)) {
        packet *first = CONTAINING_RECORD(handle->queue.Flink, packet, entry);
        u32 size = first->size;
        if (count > 0 && size > room) {
            break;
        }
        RemoveEntryList(&first->entry);
        handle->queued--;
        if (size > room) {
            status = STATUS_BUFFER_TOO_SMALL;
            size = room;
        }
        memcpy(to + filled, first->data, size);
        memcpy(addresses + count * ADDRESS_SIZE, first->address, ADDRESS_SIZE);
        filled += size;
        room -= size;
        count++;
        ExFreePool(first);
        if ((count + 1) * ADDRESS_SIZE > addresses_size || count >= BATCH_MAX) {
            break;
        }
    }
    handle->received_count += count;
    if (address_at) {
        WriteProcessMemory(handle->process, (void *)address_at, addresses, count * ADDRESS_SIZE, &done);
    }
    if (address_size_at) {
        u32 written = count * ADDRESS_SIZE;
        WriteProcessMemory(handle->process, (void *)address_size_at, &written, sizeof written, &done);
    }
    handle->pending--;
    complete(irp, status, filled);
}

/* Lets reads have what is queued; after a shutdown those that find nothing end. */
void serve(handle *handle) {
    while (!IsListEmpty(&handle->reads)) {
        IRP *irp;
        if (IsListEmpty(&handle->queue) && !handle->has_ended_receiving) {
            return;
        }
        irp = CONTAINING_RECORD(RemoveHeadList(&handle->reads), IRP, Tail.Overlay.ListEntry);
        IoSetCancelRoutine(irp, NULL);
        if (IsListEmpty(&handle->queue)) {
            handle->pending--;
            complete(irp, STATUS_PIPE_EMPTY, 0);
        } else {
            fill(handle, irp);
        }
    }
}

/* A read that already waits gets this packet alone, as with the driver. */
void enqueue(handle *handle, packet *packet) {
    InsertTailList(&handle->queue, &packet->entry);
    handle->queued++;
    serve(handle);
}

NTSTATUS add_read(handle *handle, IRP *irp) {
    IoMarkIrpPending(irp);
    InsertTailList(&handle->reads, &irp->Tail.Overlay.ListEntry);
    handle->pending++;
    IoSetCancelRoutine(irp, on_cancel);
    serve(handle);
    return STATUS_PENDING;
}

void cancel_reads(handle *handle) {
    while (!IsListEmpty(&handle->reads)) {
        IRP *irp = CONTAINING_RECORD(RemoveHeadList(&handle->reads), IRP, Tail.Overlay.ListEntry);
        handle->pending--;
        complete(irp, STATUS_CANCELLED, 0);
    }
    release_held(handle, 0);
}

/* Ends reads whose cancelling was held up: as cancelled, or with what is queued, as if data had been faster. */
void release_held(handle *handle, int with_data) {
    while (!IsListEmpty(&handle->held)) {
        IRP *irp = CONTAINING_RECORD(RemoveHeadList(&handle->held), IRP, Tail.Overlay.ListEntry);
        if (with_data && !IsListEmpty(&handle->queue)) {
            fill(handle, irp);
        } else {
            handle->pending--;
            complete(irp, STATUS_CANCELLED, 0);
        }
    }
}
