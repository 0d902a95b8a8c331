/*
 * The program that `make dist` makes: CPython, and behind it in the same file a zip archive with its standard library
 * and the agent. This is what python(1) has for a main(): it knows no options, listens to no variables (PYTHONPATH ...),
 * looks for no files, and hands over to start.py.
 */
#include <Python.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

/*
 * Where the archive is. By a descriptor of this very file: the path may have another one tomorrow, whose offsets are not
 * those that this process has read. Where that cannot be opened (no /proc; or file capabilities, which make /proc/self
 * root's), by the path.
 */
static const char *archive(void)
{
	static char by_descriptor[32], by_path[PATH_MAX];
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (self < 0)
		self = open((const char *)getauxval(AT_EXECFN), O_RDONLY | O_CLOEXEC);
	snprintf(by_descriptor, sizeof(by_descriptor), "/proc/self/fd/%d", self);
	if (self >= 0 && access(by_descriptor, R_OK) == 0)
		return by_descriptor;
	return realpath((const char *)getauxval(AT_EXECFN), by_path);
}

/* What Debian's library of CPython leaves to files of their own, and is in the program. */
PyObject *PyInit__ctypes(void);
PyObject *PyInit__hashlib(void);
PyObject *PyInit__lzma(void);
PyObject *PyInit__multiprocessing(void);
PyObject *PyInit__posixshmem(void);
PyObject *PyInit__ssl(void);

static const struct _inittab inside[] = {
	{ "_ctypes", PyInit__ctypes },
	{ "_hashlib", PyInit__hashlib },
	{ "_lzma", PyInit__lzma },
	{ "_multiprocessing", PyInit__multiprocessing },
	{ "_posixshmem", PyInit__posixshmem },
	{ "_ssl", PyInit__ssl },
	{ NULL, NULL },
};

static PyStatus initialize(PyConfig *config, int argc, char **argv)
{
	const char *where = archive();
	wchar_t *path;
	PyStatus status;

	if (!where)
		return PyStatus_Error("the program cannot read its own file");
	config->install_signal_handlers = 1; /* SIGPIPE is an error of what writes; SIGINT is KeyboardInterrupt */
	config->site_import = 0;
	config->write_bytecode = 0;
	config->module_search_paths_set = 1;
	path = Py_DecodeLocale(where, NULL);
	if (!path)
		return PyStatus_NoMemory();
	status = PyWideStringList_Append(&config->module_search_paths, path);
	PyMem_RawFree(path);
	if (PyStatus_Exception(status))
		return status;
	/* Who started it has less rights than it has itself, and must have no say in what it loads. */
	if (getauxval(AT_SECURE)) {
		status = PyWideStringList_Append(&config->xoptions, L"packaged");
		if (PyStatus_Exception(status))
			return status;
	}
	/* No file is looked for to learn what these are. */
	status = PyConfig_SetString(config, &config->home, L"/");
	if (PyStatus_Exception(status))
		return status;
	status = PyConfig_SetString(config, &config->program_name, L"ingrain");
	if (PyStatus_Exception(status))
		return status;
	status = PyConfig_SetString(config, &config->run_command, L"import start, sys; sys.exit(start.main())");
	if (PyStatus_Exception(status))
		return status;
	status = PyConfig_SetBytesArgv(config, argc, argv);
	if (PyStatus_Exception(status))
		return status;
	return Py_InitializeFromConfig(config);
}

int main(int argc, char **argv)
{
	PyPreConfig before;
	PyConfig config;
	PyStatus status;

	if (PyImport_ExtendInittab((struct _inittab *)inside) < 0)
		Py_ExitStatusException(PyStatus_NoMemory());
	PyPreConfig_InitIsolatedConfig(&before);
	before.utf8_mode = 1; /* whatever the locale: names of files and processes are bytes that mostly are UTF-8 */
	status = Py_PreInitialize(&before);
	if (PyStatus_Exception(status))
		Py_ExitStatusException(status);
	PyConfig_InitIsolatedConfig(&config);
	status = initialize(&config, argc, argv);
	PyConfig_Clear(&config);
	if (PyStatus_Exception(status))
		Py_ExitStatusException(status);
	return Py_RunMain();
}
