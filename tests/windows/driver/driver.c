/* The driver's entry, its device, and the life of a handle. */
#include "standin.h"

world the_world;
static DEVICE_OBJECT *the_device;

static NTSTATUS finish(IRP *irp, NTSTATUS status, ULONG_PTR size) {
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = size;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI on_create(DEVICE_OBJECT *device, IRP *irp) {
    /* What WriteProcessMemory and ReadProcessMemory need. */
    const ULONG access = 0x8 | 0x10 | 0x20;
    handle *made = ExAllocatePool(NonPagedPool, sizeof *made);
    (void)device;
    memset(made, 0, sizeof *made);
    InitializeListHead(&made->entry);
    InitializeListHead(&made->queue);
    InitializeListHead(&made->reads);
    InitializeListHead(&made->held);
    InitializeListHead(&made->sent);
    made->params[0] = 4096;
    made->params[1] = 2000;
    made->params[2] = 4194304;
    made->process_id = (u64)(ULONG_PTR)PsGetCurrentProcessId();
    made->process = OpenProcess(access, 0, (ULONG)made->process_id);
    if (!made->process) {
        ExFreePool(made);
        return finish(irp, STATUS_ACCESS_DENIED, 0);
    }
    IoGetCurrentIrpStackLocation(irp)->FileObject->FsContext = made;
    return finish(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI on_control(DEVICE_OBJECT *device, IRP *irp) {
    IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
    const u32 code = stack->Parameters.DeviceIoControl.IoControlCode;
    const u32 in_size = stack->Parameters.DeviceIoControl.InputBufferLength;
    const u32 out_size = stack->Parameters.DeviceIoControl.OutputBufferLength;
    ULONG_PTR size = 0;
    NTSTATUS status;
    (void)device;
    if (is_test_request(code)) {
        status = control(code, irp, in_size, out_size, &size);
        return finish(irp, status, size);
    }
    status = planned_failure(code);
    if (NT_SUCCESS(status)) {
        status = answer(stack->FileObject->FsContext, code, irp, &size);
    }
    return status == STATUS_PENDING ? status : finish(irp, status, size);
}

static NTSTATUS NTAPI on_cleanup(DEVICE_OBJECT *device, IRP *irp) {
    handle *handle = IoGetCurrentIrpStackLocation(irp)->FileObject->FsContext;
    (void)device;
    if (handle) {
        handle->state = STATE_CLOSING;
        cancel_reads(handle);
    }
    return finish(irp, STATUS_SUCCESS, 0);
}

/* What is queued goes on, unless it is a copy. */
static void give_back(handle *handle) {
    const int is_copy = handle->flags & 1 || handle->layer > 1;
    while (!is_copy && !IsListEmpty(&handle->queue)) {
        InsertTailList(&the_world.returned, RemoveHeadList(&handle->queue));
    }
    free_packets(&handle->queue);
}

static NTSTATUS NTAPI on_close(DEVICE_OBJECT *device, IRP *irp) {
    FILE_OBJECT *file = IoGetCurrentIrpStackLocation(irp)->FileObject;
    handle *handle = file->FsContext;
    (void)device;
    if (handle) {
        cancel_reads(handle);
        give_back(handle);
        free_packets(&handle->sent);
        RemoveEntryList(&handle->entry);
        ZwClose(handle->process);
        if (handle->initialize.data) {
            ExFreePool(handle->initialize.data);
        }
        if (handle->startup.data) {
            ExFreePool(handle->startup.data);
        }
        ExFreePool(handle);
        file->FsContext = NULL;
    }
    return finish(irp, STATUS_SUCCESS, 0);
}

static void NTAPI on_unload(DRIVER_OBJECT *driver) {
    UNICODE_STRING link;
    (void)driver;
    RtlInitUnicodeString(&link, L"\\DosDevices\\WinDivert");
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(the_device);
}

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *registry) {
    UNICODE_STRING name, link;
    NTSTATUS status;
    (void)registry;
    InitializeListHead(&the_world.handles);
    InitializeListHead(&the_world.returned);
    RtlInitUnicodeString(&name, L"\\Device\\WinDivert");
    RtlInitUnicodeString(&link, L"\\DosDevices\\WinDivert");
    status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_NETWORK, 0, FALSE, &the_device);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = IoCreateSymbolicLink(&link, &name);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(the_device);
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = on_create;
    driver->MajorFunction[IRP_MJ_CLEANUP] = on_cleanup;
    driver->MajorFunction[IRP_MJ_CLOSE] = on_close;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = on_control;
    driver->DriverUnload = on_unload;
    the_device->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}
