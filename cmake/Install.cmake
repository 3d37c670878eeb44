# What `cmake --install` puts under a prefix. The tree may be moved afterwards: the binary finds its
# plugins and data relative to itself (harness/src/core/path.c, harness/src/plugin/registry.c), and so do
# pareConfig.cmake and pare.pc. Plugins are added by pare_plugin().
include(CMakePackageConfigHelpers)

set(pare_data share/pare) # as harness/src/core/path.c has it
set(pare_cmake ${CMAKE_INSTALL_LIBDIR}/cmake/pare)

# The ABI that the headers describe, for plugins' build files.
file(STRINGS harness/include/pare/plugin.h lines REGEX "^#define PARE_ABI_(MAJOR|MINOR) ")
string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*" "\\1.\\2" PARE_ABI "${lines}")

install(TARGETS pare RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY harness/include/pare DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY scripts/lib scripts/experiments scripts/seeds DESTINATION ${pare_data}/scripts)
install(DIRECTORY datasets/checkpoints DESTINATION ${pare_data}/datasets)
install(FILES plugins/template/method.c plugins/template/backend.c
  DESTINATION ${pare_data}/plugins/template)
install(DIRECTORY tests/integration/out_of_tree DESTINATION ${pare_data}/plugins)
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
# Documents lie as in the source tree, so that links between them hold.
file(GLOB methods RELATIVE ${PROJECT_SOURCE_DIR} plugins/methods/*/README.md)
foreach(file plugins/README.md plugins/ABI.md plugins/methods/README.md ${methods}
        plugins/backends/README.md harness/src/script/README.md harness/src/check/README.md
        harness/src/compare/README.md results/README.md datasets/README.md datasets/manifest.inc
        scripts/cluster/README.md scripts/cluster/slurm_array.sh scripts/lib/models.lua
        scripts/lib/report.lua)
  get_filename_component(folder ${file} DIRECTORY)
  install(FILES ${file} DESTINATION ${CMAKE_INSTALL_DOCDIR}/${folder})
endforeach()

# find_package(pare)
set_target_properties(pare_headers PROPERTIES EXPORT_NAME headers)
install(TARGETS pare_headers EXPORT pareTargets)
install(EXPORT pareTargets NAMESPACE pare:: DESTINATION ${pare_cmake})
set(PARE_PLUGIN_DIR ${CMAKE_INSTALL_LIBDIR}/pare/plugins)
set(PARE_PROGRAM ${CMAKE_INSTALL_BINDIR}/pare)
configure_package_config_file(cmake/pareConfig.cmake.in pareConfig.cmake
  INSTALL_DESTINATION ${pare_cmake} PATH_VARS PARE_PLUGIN_DIR PARE_PROGRAM)
write_basic_package_version_file(pareConfigVersion.cmake COMPATIBILITY SameMinorVersion
  ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/pareConfig.cmake ${PROJECT_BINARY_DIR}/pareConfigVersion.cmake
  DESTINATION ${pare_cmake})

# pkg-config pare
file(RELATIVE_PATH PARE_PREFIX_FROM_PC /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" PARE_PREFIX_FROM_PC "${PARE_PREFIX_FROM_PC}")
configure_file(cmake/pare.pc.in pare.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/pare.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
